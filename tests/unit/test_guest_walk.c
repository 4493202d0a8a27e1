/* SPDX-License-Identifier: BSD-2-Clause */
// links: arch/x86/guest_walk.c
/*
 * The guest page walk, in every format: rights against a reference that reads like the manual,
 * every bit of every entry for being reserved, addresses, accessed and dirty bits, protection keys,
 * and tables that other vCPUs change in between.
 */
#include "arch/x86/guest_walk.h"
#include "arch/x86/regs.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "tests/tap.h"
#include "vm/guestmem.h"

#define P  0x1ULL
#define W  0x2ULL
#define U  0x4ULL
#define A  0x20ULL
#define D  0x40ULL
#define PS 0x80ULL
#define NX BIT(63)

/* ---- guest memory: one array, and somebody who may change it under the walk ---- */

#define MEMORY_SIZE 0x10000ULL

static _Alignas(8) uint8_t memory[MEMORY_SIZE];
static unsigned exchanges;
static void (*interfere)(void); /* called before each compare-and-exchange */

int guestmem_read(struct guestmem *gm, ipa_t at, void *dst, size_t n)
{
	(void)gm;
	if (!range_fits(at.v, n, MEMORY_SIZE))
		return -EFAULT;
	memcpy(dst, memory + at.v, n);
	return 0;
}

int guestmem_cmpxchg(struct guestmem *gm, ipa_t at, unsigned size, uint64_t *expected,
		     uint64_t desired)
{
	uint64_t found = 0;

	(void)gm;
	exchanges++;
	if (interfere)
		interfere();
	if (!range_fits(at.v, size, MEMORY_SIZE) || !is_aligned(at.v, size))
		return -EFAULT;
	memcpy(&found, memory + at.v, size);
	if (found != *expected) {
		*expected = found;
		return -EAGAIN;
	}
	memcpy(memory + at.v, &desired, size);
	return 0;
}

/* ---- formats ---- */

static const struct format {
	const char *name;
	unsigned levels;
	unsigned entry_size;
	unsigned index_bits;
	bool pae;
	uint64_t cr4, efer;
	uint64_t linear;
	unsigned max_leaf; /* level of the largest page */
} formats[] = {
	{"32-bit", 2, 4, 10, false, CR4_PSE, 0, 0x34567abc, 2},
	{"PAE", 3, 8, 9, true, CR4_PAE, 0, 0x94567abc, 2},
	{"4-level", 4, 8, 9, false, CR4_PAE, EFER_LMA, 0x00007ff234567abc, 3},
	{"5-level", 5, 8, 9, false, CR4_PAE | CR4_LA57, EFER_LMA, 0x00ab7ff234567abc, 3},
};

static struct guest_paging paging;
static uint64_t entries[6]; /* by level, 1..5 */
static uint64_t gpa;
static uint32_t error;

static uint64_t entry_at(const struct format *f, unsigned level)
{
	uint64_t index = f->linear >> (12 + (level - 1) * f->index_bits);

	return 0x1000 * level + (index & (BIT(f->index_bits) - 1)) * f->entry_size;
}

/* The table of a level is at 0x1000 * level; pages are at 0xc0de... of the right alignment. */
static void set_up(const struct format *f, unsigned leaf)
{
	memset(memory, 0, sizeof(memory));
	paging = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG | CR0_WP,
		.cr3 = 0x1000 * f->levels,
		.cr4 = f->cr4,
		.efer = f->efer | EFER_NXE,
		.phys_bits = 40,
	};
	for (unsigned level = leaf + 1; level <= f->levels; level++)
		entries[level] = 0x1000 * (level - 1) | P | W | U;
	entries[leaf] = 0x80000000 | P | W | U | (leaf > 1 ? PS : 0);
	if (f->pae && leaf < 3)
		entries[3] &= ~(W | U);
	interfere = NULL;
	exchanges = 0;
}

static void write_tables(const struct format *f, unsigned leaf)
{
	for (unsigned level = leaf; level <= f->levels; level++)
		memcpy(memory + entry_at(f, level), &entries[level], f->entry_size);
}

static uint64_t entry_now(const struct format *f, unsigned level)
{
	uint64_t e = 0;

	memcpy(&e, memory + entry_at(f, level), f->entry_size);
	return e;
}

static enum walk_result walk(const struct format *f, unsigned access)
{
	error = 0xdead;
	return guest_walk(NULL, &paging, f->linear, access, &gpa, &error);
}

/* ---- rights ---- */

static uint64_t random_state = 0x9a9e7ab1e5eedULL;

static uint64_t random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* SDM volume 3, 4.6.1 and 4.7, sentence by sentence. True: allowed; else *code. */
static bool reference(const struct format *f, unsigned leaf, unsigned access, uint32_t *code)
{
	bool write = access & WALK_WRITE, fetch = access & WALK_EXEC,
	     user_access = access & WALK_USER;
	bool nxe = (paging.efer & EFER_NXE) && f->entry_size == 8;
	bool wp = paging.cr0 & CR0_WP, smep = paging.cr4 & CR4_SMEP, smap = paging.cr4 & CR4_SMAP;
	bool user_address = true, writable = true, executable = true, denied;

	*code = (write ? 2U : 0) | (user_access ? 4U : 0) | (fetch && (nxe || smep) ? 16U : 0);
	for (unsigned level = f->levels; level >= leaf; level--) {
		if (!(entries[level] & P))
			return false;
		if ((entries[level] & NX) && (!nxe || (f->pae && level == 3))) {
			*code |= 8 | 1;
			return false;
		}
		if (f->pae && level == 3)
			continue;
		user_address &= (entries[level] & U) != 0;
		writable &= (entries[level] & W) != 0;
		executable &= !(entries[level] & NX);
	}
	if (user_access && !user_address)
		denied = true;
	else if (fetch)
		denied = !executable || (!user_access && user_address && smep);
	else if (!user_access && user_address && smap && !(access & WALK_AC))
		denied = true;
	else
		denied = write && !writable && (user_access || wp);
	*code |= 1;
	return !denied;
}

static void random_rights(const struct format *f, unsigned leaf)
{
	uint64_t r = random_u64();

	set_up(f, leaf);
	for (unsigned level = leaf; level <= f->levels; level++) {
		bool pointer = f->pae && level == 3;

		/* Each right is taken away one time in eight, P one time in 32. */
		if ((r & 31) == 0)
			entries[level] &= ~P;
		if ((r >> 5 & 7) == 0)
			entries[level] &= ~W;
		if ((r >> 8 & 3) == 0)
			entries[level] &= ~U;
		if ((r >> 10 & 15) == 0 && f->entry_size == 8 && !pointer)
			entries[level] |= NX;
		r = random_u64();
	}
	paging.cr0 ^= r & 1 ? CR0_WP : 0;
	paging.cr4 |= (r & 2 ? CR4_SMEP : 0) | (r & 4 ? CR4_SMAP : 0);
	paging.efer ^= (r & 0x38) == 0 ? EFER_NXE : 0;
	write_tables(f, leaf);
}

static void test_rights(const struct format *f)
{
	static const unsigned kinds[] = {0, WALK_WRITE, WALK_EXEC};
	unsigned wrong = 0, allowed = 0, tried = 0;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned leaf = 1 + (unsigned)(random_u64() % f->max_leaf);

		random_rights(f, leaf);
		for (unsigned j = 0; j < 12; j++) {
			unsigned access =
				kinds[j % 3] | (j / 3 & 1 ? WALK_USER : 0) | (j / 6 ? WALK_AC : 0);
			uint32_t code;
			bool want = reference(f, leaf, access, &code);
			enum walk_result r = walk(f, access);

			tried++;
			allowed += want;
			if (r != (want ? WALK_OK : WALK_FAULT) || (!want && error != code)) {
				if (wrong++ < 5)
					printf("# level %u access %u: result %d error %#x, want "
					       "%#x\n",
					       leaf, access, r, error, code);
			}
		}
	}
	ok(wrong == 0, "%s: rights and error codes (%u accesses, %u allowed)", f->name, tried,
	   allowed);
	ok(allowed > tried / 8 && allowed < tried * 7 / 8, "%s: both outcomes were frequent",
	   f->name);
}

/* ---- reserved bits ---- */

#define HIGH  0x000fff0000000000ULL /* 51:40, as the guest has 40 address bits */
#define HIGH2 0x7fffff0000000000ULL /* PAE: 62:40 */

static const struct {
	unsigned format, leaf, level;
	uint64_t reserved, on_amd;
} reserved_cases[] = {
	{0, 1, 2, 0, 0},
	{0, 1, 1, 0, 0},
	{0, 2, 2, 0x200000, 0},
	{1, 1, 3, HIGH2 | NX | 0x1e6, 0},
	{1, 1, 2, HIGH2, 0},
	{1, 1, 1, HIGH2, 0},
	{1, 2, 2, HIGH2 | 0x1fe000, 0},
	{2, 1, 4, HIGH | 0x80, 0x100},
	{2, 1, 3, HIGH, 0x100},
	{2, 1, 2, HIGH, 0},
	{2, 1, 1, HIGH, 0},
	{2, 2, 2, HIGH | 0x1fe000, 0},
	{2, 3, 3, HIGH | 0x3fffe000, 0},
	{3, 1, 5, HIGH | 0x80, 0x100},
	{3, 1, 4, HIGH | 0x80, 0x100},
	{3, 1, 3, HIGH, 0x100},
	{3, 3, 3, HIGH | 0x3fffe000, 0},
};

/* The bits of one entry that the walk takes for reserved. */
static uint64_t find_reserved(const struct format *f, unsigned leaf, unsigned level, bool amd,
			      bool nxe)
{
	uint64_t found = 0;

	for (unsigned bit = 0; bit < 8 * f->entry_size; bit++) {
		/* PS would make a pointer a large page: another kind of entry. */
		if (BIT(bit) == PS && leaf < level && level <= f->max_leaf)
			continue;
		set_up(f, leaf);
		paging.amd = amd;
		if (!nxe)
			paging.efer &= ~EFER_NXE;
		entries[level] |= BIT(bit);
		write_tables(f, leaf);
		if (walk(f, 0) == WALK_FAULT && (error & PF_ERR_RSVD)) {
			if (!(error & PF_ERR_P))
				return 0;
			found |= BIT(bit);
		}
	}
	return found;
}

static void test_reserved(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(reserved_cases); i++) {
		unsigned leaf = reserved_cases[i].leaf, level = reserved_cases[i].level;
		const struct format *f = &formats[reserved_cases[i].format];
		uint64_t want = reserved_cases[i].reserved;
		char name[80];

		snprintf(name, sizeof(name), "%s: reserved at level %u, leaf at %u", f->name, level,
			 leaf);
		is_u64(find_reserved(f, leaf, level, false, true), want, name);
		ok(find_reserved(f, leaf, level, true, true) == (want | reserved_cases[i].on_amd),
		   "... on AMD");
		ok(find_reserved(f, leaf, level, false, false) ==
			   (want | (f->entry_size == 8 ? NX : 0)),
		   "... without NXE");
	}
	set_up(&formats[2], 3);
	paging.no_page_1g = true;
	write_tables(&formats[2], 3);
	ok(walk(&formats[2], 0) == WALK_FAULT && error == (PF_ERR_P | PF_ERR_RSVD),
	   "1 GiB pages that the processor does not have");
	for (unsigned bits = 32; bits <= 40; bits += 4) {
		set_up(&formats[0], 2);
		paging.phys_bits = (uint8_t)bits;
		entries[2] |= BIT(13 + bits - 32);
		write_tables(&formats[0], 2);
		ok(walk(&formats[0], 0) == WALK_FAULT && (error & PF_ERR_RSVD),
		   "PSE-36: address bit %u of a processor with %u", bits, bits);
	}
}

/* ---- addresses ---- */

static void test_addresses(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const struct format *f = &formats[i];

		for (unsigned leaf = 1; leaf <= f->max_leaf; leaf++) {
			uint64_t mask = BIT(12 + (leaf - 1) * f->index_bits) - 1;
			char name[60];

			set_up(f, leaf);
			entries[leaf] |= leaf > 1 ? 0x1000 : 0; /* PAT, not an address bit */
			write_tables(f, leaf);
			snprintf(name, sizeof(name), "%s: address in a page of level %u", f->name,
				 leaf);
			ok(walk(f, 0) == WALK_OK, "%s", name);
			is_u64(gpa, 0x80000000 | (f->linear & mask), name);
		}
	}
	set_up(&formats[0], 2);
	entries[2] |= 0xa5ULL << 13;
	write_tables(&formats[0], 2);
	ok(walk(&formats[0], 0) == WALK_OK &&
		   gpa == (0xa580000000 | (formats[0].linear & 0x3fffff)),
	   "PSE-36: address bits 39:32");
	set_up(&formats[0], 1);
	paging.cr4 &= ~CR4_PSE;
	entries[2] |= PS;
	write_tables(&formats[0], 1);
	ok(walk(&formats[0], 0) == WALK_OK && gpa == (0x80000000 | (formats[0].linear & 0xfff)),
	   "without CR4.PSE there are no large pages");
	set_up(&formats[1], 1);
	write_tables(&formats[1], 1);
	memcpy(memory + 0x3fe0 + 8 * 2, &entries[3], 8);
	memset(memory + 0x3010, 0, 8);
	paging.cr3 = 0x3fe0 | 0x18;
	ok(walk(&formats[1], 0) == WALK_OK, "PAE: the pointers are aligned to 32 bytes only");
	paging.cr0 &= ~CR0_PG;
	ok(walk(&formats[1], WALK_WRITE | WALK_USER) == WALK_OK && gpa == formats[1].linear,
	   "no paging: the address itself");
	set_up(&formats[2], 1);
	write_tables(&formats[2], 1);
	paging.cr3 |= 0xfff;
	ok(walk(&formats[2], 0) == WALK_OK,
	   "4-level: the low bits of CR3 are a PCID or cache bits");
	set_up(&formats[2], 1);
	entries[3] = 0x100000 | P | W | U;
	write_tables(&formats[2], 1);
	ok(walk(&formats[2], 0) == WALK_NO_RAM &&
		   gpa == 0x100000 + (entry_at(&formats[2], 2) & 0xfff),
	   "a table outside RAM is named");
}

/* ---- accessed and dirty ---- */

static void test_accessed_dirty(const struct format *f, unsigned leaf)
{
	unsigned top = f->pae ? 2 : f->levels;
	bool good = true;

	set_up(f, leaf);
	write_tables(f, leaf);
	ok(walk(f, WALK_USER) == WALK_OK, "%s: read", f->name);
	for (unsigned level = leaf; level <= top; level++)
		good &= entry_now(f, level) == (entries[level] | A);
	ok(good && entry_now(f, f->levels) == (entries[f->levels] | (f->pae ? 0 : A)),
	   "%s: a read sets A everywhere%s", f->name, f->pae ? " but in the pointers" : "");
	exchanges = 0;
	ok(walk(f, WALK_USER) == WALK_OK && exchanges == 0, "%s: and the next nothing", f->name);
	ok(walk(f, WALK_WRITE) == WALK_OK && exchanges == 1 &&
		   entry_now(f, leaf) == (entries[leaf] | A | D),
	   "%s: a write sets D in the leaf", f->name);
	set_up(f, leaf);
	entries[leaf] &= ~W;
	write_tables(f, leaf);
	ok(walk(f, WALK_WRITE) == WALK_FAULT && exchanges == 0, "%s: a fault sets nothing",
	   f->name);
}

static void take_present_away(void)
{
	memset(memory + entry_at(&formats[2], 1), 0, 8);
	interfere = NULL;
}

static void change_for_ever(void)
{
	memory[entry_at(&formats[2], 4) + 1] ^= 2; /* a bit that software may use */
}

static void test_races(void)
{
	const struct format *f = &formats[2];

	set_up(f, 1);
	write_tables(f, 1);
	interfere = take_present_away;
	ok(walk(f, WALK_WRITE) == WALK_FAULT && error == PF_ERR_W && entry_now(f, 1) == 0,
	   "an entry removed after its check: fault, and it stays removed");
	set_up(f, 1);
	write_tables(f, 1);
	interfere = change_for_ever;
	ok(walk(f, WALK_WRITE) == WALK_CONTEND && exchanges < 100, "tables that never hold still");
}

/* ---- protection keys ---- */

static void test_keys(void)
{
	const struct format *f = &formats[2];
	unsigned wrong = 0;

	for (unsigned i = 0; i < 16 * 4 * 3 * 2 * 2 * 2 * 2; i++) {
		unsigned key = i & 15, bits = i >> 4 & 3, kind = i >> 6 & 3;
		bool user = i >> 8 & 1, wp = i >> 9 & 1, pke = i >> 10 & 1;
		bool user_page = (i >> 6) % 5 != 0; /* keys say nothing about the kernel's pages */
		bool write = kind == 1, exec = kind == 2, denied;
		enum walk_result r;

		set_up(f, 1);
		entries[1] |= (uint64_t)key << 59;
		if (!user_page)
			entries[1] &= ~U;
		write_tables(f, 1);
		paging.cr0 = CR0_PE | CR0_PG | (wp ? CR0_WP : 0);
		paging.cr4 |= pke ? CR4_PKE : 0;
		/* Every other key denies what this one allows. */
		paging.pkru = (uint32_t)(bits * 0x55555555ULL) ^ ~(3U << (2 * key));
		paging.pkru = (paging.pkru & ~(3U << (2 * key))) | bits << (2 * key);
		r = walk(f, (write ? WALK_WRITE : 0) | (exec ? WALK_EXEC : 0) |
				    (user ? WALK_USER : 0));
		denied = pke && user_page && !exec &&
			 ((bits & 1) || ((bits & 2) && write && (user || wp)));
		if (user && !user_page)
			wrong += r != WALK_FAULT || (error & PF_ERR_PK);
		else
			wrong += (r == WALK_FAULT) != denied || (denied && !(error & PF_ERR_PK));
	}
	is_u64(wrong, 0, "protection keys: every key, right and access");
}

int main(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		test_rights(&formats[i]);
		for (unsigned leaf = 1; leaf <= formats[i].max_leaf; leaf++)
			test_accessed_dirty(&formats[i], leaf);
	}
	test_reserved();
	test_addresses();
	test_races();
	test_keys();
	return tap_done();
}
