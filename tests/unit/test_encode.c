/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What commands look like to the hardware (tlbi/encode.h), field by field as the manuals draw them,
 * and ranges: decomposed and put together again, exhaustively below 2^17 pages and at every
 * boundary above.
 */
// links: lib/log.c lib/string.c
#include <stdlib.h>

#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/encode.h"

static uint64_t bits(uint64_t v, unsigned high, unsigned low)
{
	return v >> low & (high - low == 63 ? UINT64_MAX : (1ULL << (high - low + 1)) - 1);
}

/* ---- x86 ---- */

static void test_vmx(void)
{
	unsigned wrong = 0;

	for (unsigned bit = 0; bit < 52; bit++) {
		struct inv_descriptor d = invept_descriptor(1ULL << bit);

		wrong += d.lo != 1ULL << bit || d.hi != 0;
	}
	is_u64(wrong, 0, "INVEPT: the EPTP, and zero above");
	for (uint32_t vpid = 0; vpid < 65536; vpid++) {
		struct inv_descriptor d = invvpid_descriptor((uint16_t)vpid, ~0ULL << vpid % 48);

		wrong += d.lo != vpid || d.hi != ~0ULL << vpid % 48;
	}
	is_u64(wrong, 0, "INVVPID: each VPID, zero in 63:16, the linear address above");
	ok(INVEPT_SINGLE == 1 && INVEPT_GLOBAL == 2, "INVEPT types");
	ok(INVVPID_ADDRESS == 0 && INVVPID_SINGLE == 1 && INVVPID_ALL == 2 &&
		   INVVPID_SINGLE_KEEP_GLOBALS == 3,
	   "INVVPID types");
}

static void test_svm(void)
{
	unsigned wrong = 0;

	ok(svm_tlb_control(TLBI_NONE) == 0 && svm_tlb_control(TLBI_TAG) == 3 &&
		   svm_tlb_control(TLBI_ALL) == 1,
	   "TLB_CONTROL: nothing, this ASID, everything");
	for (uint32_t asid = 0; asid < 65536; asid++) {
		struct invlpgb i = invlpgb_asid((uint16_t)asid);

		wrong += bits(i.edx, 15, 0) != asid || bits(i.edx, 31, 16) != 0 || i.ecx != 0;
		/* ASID valid, globals, nested; no address, no PCID, not final only. */
		wrong += bits(i.rax, 5, 0) != 0x2c || bits(i.rax, 63, 6) != 0;
	}
	is_u64(wrong, 0, "INVLPGB of an ASID");
	for (uint32_t n = 1; n <= 65536; n++)
		for (unsigned large = 0; large < 2; large++) {
			uint64_t at = (uint64_t)n << 12 | 0xffff800000000000;
			struct invlpgb i = invlpgb_range((uint16_t)n, (va_t){at}, n, large);

			wrong += bits(i.ecx, 15, 0) != n - 1 || bits(i.ecx, 30, 16) != 0 ||
				 i.ecx >> 31 != large;
			wrong += i.rax != (at | 0xd) || bits(i.edx, 15, 0) != (uint16_t)n;
		}
	is_u64(wrong, 0, "INVLPGB of 1 to 65536 pages, small and large");
}

/* ---- arm64 operands ---- */

static void test_ipa(void)
{
	static const uint8_t levels[] = {0, 1, 2, 3, HW_ANY_LEVEL};
	static const uint8_t ttl[] = {0x7, 0x6, 0x5, 0, 0}; /* 4 KiB, Arm's 3, 2, 1; none; none */
	unsigned wrong = 0;

	for (size_t l = 0; l < ARRAY_SIZE(levels); l++)
		for (unsigned bit = 11; bit < 52; bit++) {
			uint64_t at = bit > 11 ? 1ULL << bit : 0xffffffffff000;
			uint64_t op = arm64_ipas2e1(ipa(at), levels[l]);

			wrong += bits(op, 39, 0) != at >> 12 || bits(op, 47, 44) != ttl[l] ||
				 bits(op, 43, 40) != 0 || bits(op, 63, 48) != 0;
		}
	is_u64(wrong, 0, "IPAS2E1IS: address and level hint, NS clear");
}

static void test_range_operand(void)
{
	static const uint8_t levels[] = {0, 1, 2, HW_ANY_LEVEL};
	static const uint8_t ttl[] = {3, 2, 1, 0};
	unsigned wrong = 0;

	for (uint8_t scale = 0; scale < 4; scale++)
		for (uint8_t num = 0; num < 32; num++)
			for (size_t l = 0; l < ARRAY_SIZE(levels); l++)
				for (unsigned bit = 11; bit < 48; bit++) {
					uint64_t at = bit > 11 ? 1ULL << bit : BIT(48) - PAGE_SIZE;
					uint64_t op =
						arm64_ripas2e1(ipa(at), scale, num, levels[l]);

					wrong += bits(op, 36, 0) != at >> 12 ||
						 bits(op, 38, 37) != ttl[l] ||
						 bits(op, 43, 39) != num ||
						 bits(op, 45, 44) != scale ||
						 bits(op, 47, 46) != 1 || bits(op, 63, 48) != 0;
				}
	is_u64(wrong, 0, "RIPAS2E1IS: each scale, number, level and address bit");
}

/* ---- decomposition ---- */

static unsigned wrong_pieces, most, singles;

/* What the pieces of n pages cover must be the n pages, each once; leaf: pages of a leaf. */
static void cover(uint64_t n, uint64_t leaf)
{
	uint64_t at = 0;
	unsigned ops = 0;

	while (at < n) {
		struct tlbi_piece p = tlbi_piece(n - at);

		ops++;
		if (p.range) {
			/* The operand's own formula. */
			uint64_t pages = (p.num + 1ULL) * (1ULL << (5 * p.scale + 1));

			wrong_pieces += p.pages != pages || p.scale > 3 || p.num > 31;
		} else {
			wrong_pieces += p.pages != 1 || n - at != 1;
			singles++;
		}
		wrong_pieces += at % leaf != 0;
		at += p.pages;
	}
	wrong_pieces += at != n;
	wrong_pieces += ops > n / TLBI_RANGE_MAX_PAGES + 5;
	most = ops > most ? ops : most;
}

static void test_pieces(void)
{
	struct tlbi_piece p;

	for (uint64_t n = 1; n < 1 << 17; n++)
		cover(n, 1);
	is_u64(wrong_pieces, 0, "every number of pages up to 2^17 is covered exactly");
	ok(most == 5 && singles == 1 << 16,
	   "by at most five operations, an odd page alone (%u, %u)", most, singles);
	for (unsigned bit = 1; bit <= 36; bit++)
		for (uint64_t d = 0; d < 260; d++) {
			cover((1ULL << bit) + d, 1);
			if (1ULL << bit > d)
				cover((1ULL << bit) - d, 1);
		}
	for (unsigned i = 0; i < 200000; i++)
		cover(1 + ((uint64_t)random() << 6 ^ (uint64_t)random()) % BIT(36), 1);
	is_u64(wrong_pieces, 0, "and around every power of two, and at random, up to 2^36");
	for (uint64_t n = 1; n < 20000; n++) {
		cover(n << 9, 1 << 9);
		cover(n << 18, 1 << 18);
	}
	is_u64(wrong_pieces, 0, "whole 2M and 1G leaves are cut between leaves only");
	p = tlbi_piece(BIT(21));
	ok(p.range && p.scale == 3 && p.num == 31 && p.pages == BIT(21),
	   "2^21 pages are one operation: scale 3, number 31");
	p = tlbi_piece(BIT(21) - 1);
	ok(p.range && p.scale == 3 && p.num == 30, "one page less is not");
	p = tlbi_piece(BIT(21) + 1);
	ok(p.range && p.pages == BIT(21), "one page more is the same, and one page");
	p = tlbi_piece(2);
	ok(p.range && p.scale == 0 && p.num == 0, "two pages are the smallest range");
}

int main(void)
{
	srandom(5);
	test_vmx();
	test_svm();
	test_ipa();
	test_range_operand();
	test_pieces();
	return tap_done();
}
