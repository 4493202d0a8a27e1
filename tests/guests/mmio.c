/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device memory used in ways that no driver would. The last word of the command line says how:
 * fetch-lapic, fetch-hole (executes there), copy-in, copy-out, copy-within (4 GiB of rep movs),
 * stack (exceptions push there), gates (the IDT is there), tables (the page tables are), forms
 * (every instruction form on the local APIC; exits with 0).
 */
#include "guest.h"

#define LAPIC	 0xfee00000u
#define HOLE	 0xd0000000u
#define RAM	 0x600000u
#define TPR	 (LAPIC + 0x80)
#define ICR_HIGH (LAPIC + 0x310)

static uint32_t failures;

static bool word_is(const char *s, const char *word)
{
	const char *last = s;

	for (; *s; s++)
		if (*s == ' ')
			last = s + 1;
	while (*last && *last == *word)
		last++, word++;
	return !*last && !*word;
}

static void is(const char *what, uint32_t got, uint32_t want)
{
	if (got == want)
		return;
	failures++;
	say("mmio: %s: got %x, want %x\n", what, got, want);
}

static void copy(uint32_t from, uint32_t to)
{
	uint32_t count = 0xffffffff;

	__asm__ volatile("rep movsb" : "+c"(count), "+S"(from), "+D"(to) : : "memory");
}

static void gates(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) idtr = {0x7ff, HOLE};

	__asm__ volatile("lidt %0; int $0x40" : : "m"(idtr));
}

/* ICR high keeps bits 31:24 only, the task priority bits 7:0 (AMD APM 2, 16.4). */
static void forms(void)
{
	uint32_t value = 0x5a, address = TPR, from;

	*mem32(TPR) = 0x30;
	is("mov", *mem32(TPR), 0x30);
	__asm__ volatile("orl $0x0f, (%0)" : : "r"(TPR) : "memory");
	is("or", *mem32(TPR), 0x3f);
	__asm__ volatile("andl $0xfffffff0, (%0)" : : "r"(TPR) : "memory");
	is("and", *mem32(TPR), 0x30);
	__asm__ volatile("addl $0x10, (%0)" : : "r"(TPR) : "memory");
	is("add", *mem32(TPR), 0x40);
	__asm__ volatile("xchgl %0, (%1)" : "+r"(value) : "r"(TPR) : "memory");
	is("xchg, old value", value, 0x40);
	is("xchg, new value", *mem32(TPR), 0x5a);
	__asm__ volatile("movzbl (%1), %0" : "=r"(value) : "r"(HOLE));
	is("movzx", value, 0xff);
	__asm__ volatile("movsbl (%1), %0" : "=r"(value) : "r"(HOLE));
	is("movsx", value, 0xffffffff);
	__asm__ volatile("stosl" : "+D"(address) : "a"(0x20) : "memory");
	is("stos", *mem32(TPR), 0x20);
	is("stos, edi", address, TPR + 4);
	*mem32(RAM) = 0x70;
	from = RAM;
	address = TPR;
	__asm__ volatile("movsl" : "+S"(from), "+D"(address) : : "memory");
	is("movs to the device", *mem32(TPR), 0x70);
	from = TPR;
	address = RAM + 8;
	__asm__ volatile("movsl" : "+S"(from), "+D"(address) : : "memory");
	is("movs from the device", *mem32(RAM + 8), 0x70);
	__asm__ volatile("incl (%0)" : : "r"(TPR) : "memory");
	is("inc", *mem32(TPR), 0x71);
	__asm__ volatile("notl (%0)" : : "r"(TPR) : "memory");
	is("not", *mem32(TPR), 0x8e);
	__asm__ volatile("movl $0x12345678, (%0)" : : "r"(ICR_HIGH) : "memory");
	is("mov immediate", *mem32(ICR_HIGH), 0x12000000);
	__asm__ volatile("movl %%cs:(%1), %0" : "=r"(value) : "r"(ICR_HIGH));
	is("mov with a segment prefix", value, 0x12000000);
	*mem32(HOLE) = 1;
	is("nobody there", *mem32(HOLE), 0xffffffff);
	*mem32(TPR) = 0;
	say("mmio: forms done, %u failures\n", failures);
	finish(failures != 0);
}

uint32_t guest_main(const struct multiboot_info *info)
{
	const char *how = (const char *)info->cmdline;

	say("mmio: going\n");
	if (word_is(how, "fetch-lapic"))
		((void (*)(void))LAPIC)();
	else if (word_is(how, "fetch-hole"))
		((void (*)(void))HOLE)();
	else if (word_is(how, "copy-in"))
		copy(HOLE, RAM);
	else if (word_is(how, "copy-out"))
		copy(RAM, HOLE);
	else if (word_is(how, "copy-within"))
		copy(HOLE, HOLE + 0x1000000);
	else if (word_is(how, "stack"))
		__asm__ volatile("mov %0, %%esp; int3" : : "r"(HOLE + 0x1000));
	else if (word_is(how, "gates"))
		gates();
	else if (word_is(how, "tables"))
		__asm__ volatile("mov %0, %%cr3; mov %1, %%cr0" : : "r"(HOLE), "r"(0x80000011));
	else if (word_is(how, "forms"))
		forms();
	return 2;
}
