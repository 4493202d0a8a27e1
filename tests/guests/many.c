/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest of four vCPUs that starts the other three and then does with all of them at once what the
 * command line says:
 *	touch	every vCPU adds 1 to a word of every page of 48 MiB, the pages new to all of them
 *	storm	IPIs of every kind and register noise at the local APICs, for ever
 *	die	one has a triple fault while the others compute
 *	exit	all of them end the guest at the same moment
 *	halt	all of them halt with interrupts off
 *	init	the first one sends INIT to itself; the others go on
 *	again	the others are stopped by INIT and started again, 200 times
 */
#include "guest.h"

#define VCPUS	   4u
#define STUB	   0x8000u
#define FIRST_PAGE 0x400000u
#define LAST_PAGE  0x3400000u
#define PAGE	   4096u
#define PATIENCE   400000000u

#define APIC	     0xfee00000u
#define APIC_EOI     0xb0u
#define APIC_SVR     0xf0u
#define APIC_ICR     0x300u
#define APIC_ICR_HI  0x310u
#define TO_OTHERS    0xc0000u
#define TO_ALL	     0x80000u
#define TO_SELF	     0x40000u
#define ICR_FIXED    0x4000u
#define ICR_NMI	     0x4400u
#define ICR_INIT     0x4500u
#define ICR_START_UP 0x4600u

extern const char ap_stub[], ap_stub_end[];
char ap_stacks[VCPUS * PAGE];
uint32_t ap_count;
static uint32_t go, arrived, mode;

/* Real mode at STUB, to the flat 32-bit segments of a table of its own, to ap_main on a stack each.
 */
__asm__(".pushsection .rodata\n"
	".code16\n"
	"ap_stub:\n"
	"	cli\n"
	"	movw %cs, %ax\n"
	"	movw %ax, %ds\n"
	"	lgdtl ap_gdtr - ap_stub\n"
	"	movl %cr0, %eax\n"
	"	orl $1, %eax\n"
	"	movl %eax, %cr0\n"
	"	ljmpl $0x08, $ap_start\n"
	"	.balign 8\n"
	"ap_gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
	"ap_gdtr: .word 23\n"
	"	.long ap_gdt\n"
	"ap_stub_end:\n"
	".popsection\n"
	".pushsection .text\n"
	".code32\n"
	"ap_start:\n"
	"	movw $0x10, %ax\n"
	"	movw %ax, %ds\n"
	"	movw %ax, %es\n"
	"	movw %ax, %ss\n"
	"	movl $1, %eax\n"
	"	lock xaddl %eax, ap_count\n"
	"	andl $3, %eax\n"
	"	incl %eax\n"
	"	shll $12, %eax\n"
	"	leal ap_stacks(%eax), %esp\n"
	"	call ap_main\n"
	".popsection\n");

void ap_main(void);

static void apic(uint32_t reg, uint32_t value)
{
	*mem32(APIC + reg) = value;
}

static uint32_t seen(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static bool wait_for(const uint32_t *word, uint32_t want)
{
	for (uint32_t i = 0; i < PATIENCE; i++) {
		if (seen(word) >= want)
			return true;
		__asm__ volatile("pause");
	}
	return false;
}

static void copy(char *to, const char *from, const char *end)
{
	while (from < end)
		*to++ = *from++;
}

/* INIT and two start-up IPIs to all others: false when they do not come. */
static bool start_others(void)
{
	ap_count = 0;
	apic(APIC_ICR, TO_OTHERS | ICR_INIT);
	apic(APIC_ICR, TO_OTHERS | ICR_START_UP | STUB >> 12);
	apic(APIC_ICR, TO_OTHERS | ICR_START_UP | STUB >> 12);
	return wait_for(&ap_count, VCPUS - 1);
}

/* --- what each vCPU does ------------------------------------------------------------------------
 */

static void touch(void)
{
	for (uint32_t at = FIRST_PAGE; at < LAST_PAGE; at += PAGE)
		__atomic_add_fetch((uint32_t *)at, 1, __ATOMIC_SEQ_CST);
}

static void storm(uint32_t seed)
{
	apic(APIC_SVR, 0x1ff);
	for (;;) {
		seed = seed * 1664525u + 1013904223u;
		apic(APIC_ICR_HI, seed & 0xff000000u);
		apic(APIC_ICR, (seed >> 8 & 0xffu) | ICR_FIXED | (seed & TO_OTHERS));
		apic(APIC_ICR, TO_ALL | ICR_FIXED | (seed >> 16 & 0xffu));
		apic(APIC_EOI, 0);
		apic(seed >> 12 & 0xff0u, seed);   /* any register but the next two */
		apic(0x320, 0x20000u | 0x80u);	   /* a periodic timer */
		apic(0x380, 1000u + (seed >> 20)); /* of a microsecond and more */
		apic(APIC_SVR, 0x1ff);
	}
}

static void triple_fault(void)
{
	const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) none = {0xffff, 0};

	/* Not an empty table: that would be a reset. The gates at 0 are not present. */
	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void compute(void)
{
	for (;;)
		__asm__ volatile("pause");
}

static void act(bool first)
{
	uint32_t turn = __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);

	switch (mode) {
	case 't':
		touch();
		__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
		break;
	case 's':
		storm(turn);
		break;
	case 'd':
		if (turn == VCPUS)
			triple_fault();
		compute();
		break;
	case 'e':
		finish(40 + turn);
	case 'i':
		if (first)
			apic(APIC_ICR, TO_SELF | ICR_INIT), apic(APIC_ICR_HI, 0),
				apic(APIC_ICR, ICR_INIT);
		compute();
		break;
	default:
		break;
	}
}

void ap_main(void)
{
	while (!seen(&go))
		__asm__ volatile("pause");
	act(false);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* --- the first ----------------------------------------------------------------------------------
 */

static uint32_t check_pages(void)
{
	if (!wait_for(&arrived, 2 * VCPUS))
		return 3;
	for (uint32_t at = FIRST_PAGE; at < LAST_PAGE; at += PAGE) {
		if (*mem32(at) != VCPUS) {
			say("many: %x has %u\n", at, *mem32(at));
			return 4;
		}
	}
	return 42;
}

uint32_t guest_main(const struct multiboot_info *info)
{
	const char *word = (const char *)info->cmdline;

	/* The loader puts a name first, perhaps: the last word counts. */
	for (const char *s = word; *s; s++)
		if (s[0] == ' ')
			word = s + 1;
	copy((char *)STUB, ap_stub, ap_stub_end);
	if (!start_others())
		return 2;
	mode = (uint8_t)word[0];
	say("many: %u vCPUs run, %s\n", ap_count + 1, word);
	for (uint32_t i = 0; mode == 'a' && i < 200; i++)
		if (!start_others())
			return 5;
	if (mode == 'a')
		return 42;
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	act(true);
	if (mode == 't')
		return check_pages();
	for (;;)
		__asm__ volatile("cli; hlt");
}
