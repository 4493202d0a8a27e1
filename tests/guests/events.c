/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events at their edges: delivered through memory that nobody has touched yet (so that delivery
 * itself faults in the hypervisor and must be repeated, once and at the right address), NMIs and
 * their blocking, the shadow of STI, the task priority, HLT, and the debug exception.
 */
#include "guest.h"

#define LAPIC	 0xfee00000u
#define TPR	 (LAPIC + 0x80)
#define EOI	 (LAPIC + 0xb0)
#define SVR	 (LAPIC + 0xf0)
#define ICR	 (LAPIC + 0x300)
#define TIMER	 (LAPIC + 0x320)
#define COUNT	 (LAPIC + 0x380)
#define DIVIDE	 (LAPIC + 0x3e0)
#define ICR_NMI	 0x400u /* physical destination 0: ourselves; the shorthand takes fixed only */
#define ICR_SELF 0x40000u

#define SOFT	  0x30
#define IPI	  0x40
#define TIMER_VEC 0x41
#define IPI_HIGH  0x50

#define FRESH	    0x1000000u /* from here on each 2 MiB block is touched first by a delivery */
#define FRESH_BLOCK 0x200000u

struct frame {
	uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
	uint32_t error, eip, cs, eflags;
};

struct event {
	uint32_t vector, eip, error, eflags;
};

static volatile struct event seen[64];
static volatile unsigned nr_seen;
static void (*volatile hook)(uint32_t vector, struct frame *f);
static uint64_t table[256] __attribute__((aligned(8)));
static uint32_t failures, fresh = FRESH;

static void is(const char *what, uint32_t got, uint32_t want)
{
	if (got == want)
		return;
	failures++;
	say("events: %s: got %x, want %x\n", what, got, want);
}

/* --- entries ---- */

void on_event(uint32_t vector, struct frame *f);
void on_event(uint32_t vector, struct frame *f)
{
	if (nr_seen < 64)
		seen[nr_seen] = (struct event){vector, f->eip, f->error, f->eflags};
	nr_seen++;
	if (vector == IPI || vector == IPI_HIGH || vector == TIMER_VEC)
		*mem32(EOI) = 0;
	if (hook)
		hook(vector, f);
}

#define ENTRY(vector, before)                                                                      \
	void entry_##vector(void);                                                                 \
	__asm__("entry_" #vector ":\n\t" before "pusha\n\tpush %esp\n\tpush $" #vector             \
		"\n\tcall on_event\n\tadd $8, %esp\n\tpopa\n\tadd $4, %esp\n\tiret\n")
#define NO_ERROR "push $0\n\t"

ENTRY(1, NO_ERROR);
ENTRY(2, NO_ERROR);
ENTRY(3, NO_ERROR);
ENTRY(4, NO_ERROR);
ENTRY(6, NO_ERROR);
ENTRY(13, "");
ENTRY(0x30, NO_ERROR);
ENTRY(0x40, NO_ERROR);
ENTRY(0x41, NO_ERROR);
ENTRY(0x50, NO_ERROR);

static void gate(unsigned vector, void (*handler)(void))
{
	uint32_t address = (uint32_t)handler;

	table[vector] = (uint64_t)((address & 0xffff0000u) | 0x8e00u) << 32 | 0x08u << 16 |
			(address & 0xffff);
}

static void load_table(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) idtr = {sizeof(table) - 1, (uint32_t)table};

	for (unsigned i = 0; i < 32; i++)
		table[i] = idt[i];
	gate(1, entry_1);
	gate(2, entry_2);
	gate(3, entry_3);
	gate(4, entry_4);
	gate(6, entry_6);
	gate(13, entry_13);
	gate(SOFT, entry_0x30);
	gate(IPI, entry_0x40);
	gate(TIMER_VEC, entry_0x41);
	gate(IPI_HIGH, entry_0x50);
	__asm__ volatile("lidt %0" : : "m"(idtr));
}

static void forget(void)
{
	nr_seen = 0;
	hook = 0;
}

/* One event of this vector, at this address. */
static void one(const char *what, uint32_t vector, uint32_t eip)
{
	is(what, nr_seen, 1);
	is(what, seen[0].vector, vector);
	is(what, seen[0].eip, eip);
}

/* --- delivery that faults ---- */

/* Executes `code` on a stack in fresh memory; label 9 is where the event must say it was. */
#define ON_FRESH_STACK(where, code)                                                                \
	do {                                                                                       \
		fresh += FRESH_BLOCK;                                                              \
		__asm__ volatile("mov %%esp, %%ebx\n\t"                                            \
				 "mov %1, %%esp\n\t"                                               \
				 "movl $9f, %0\n\t" code "\n\t"                                    \
				 "mov %%ebx, %%esp"                                                \
				 : "=m"(where)                                                     \
				 : "r"(fresh - 64), "a"(ICR)                                       \
				 : "ebx", "ecx", "edx", "memory", "cc");                           \
	} while (0)

static volatile uint32_t where;

static void skip_two(uint32_t vector, struct frame *f)
{
	(void)vector;
	f->eip += 2;
}

static void fresh_stacks(void)
{
	forget();
	ON_FRESH_STACK(where, "int $0x30; 9:");
	one("int n", SOFT, where);
	forget();
	ON_FRESH_STACK(where, "int3; 9:");
	one("int3", 3, where);
	forget();
	ON_FRESH_STACK(where, "movb $0x7f, %%dl; addb $1, %%dl; into; 9:");
	one("into", 4, where);
	forget();
	hook = skip_two;
	ON_FRESH_STACK(where, "9: ud2");
	one("ud2", 6, where);
	forget();
	hook = skip_two;
	ON_FRESH_STACK(where, "mov $0x1234, %%ecx; 9: mov %%ecx, %%es");
	one("a bad selector", 13, where);
	is("its error code", seen[0].error, 0x1234);
	forget();
	hook = skip_two;
	ON_FRESH_STACK(where, "mov $0xdeadbeef, %%ecx; 9: rdmsr");
	one("an MSR that is not there", 13, where);
	is("its error code", seen[0].error, 0);
	forget();
	ON_FRESH_STACK(where, "movl $0x40040, (%%eax); sti; nop; 9: cli");
	one("interrupt", IPI, where);
	forget();
	ON_FRESH_STACK(where, "movl $0x400, (%%eax); 9:");
	one("nmi", 2, where);
}

/* --- NMI ---- */

static volatile uint32_t inside, after_hlt;

static void send_another(uint32_t vector, struct frame *f)
{
	unsigned before = nr_seen;

	(void)f;
	if (vector != 2 || before != 1)
		return;
	*mem32(ICR) = ICR_NMI;
	for (unsigned i = 0; i < 1000; i++)
		in8(0x80);
	inside = nr_seen - before;
}

/* A NMI that is blocked does not end HLT, an interrupt does. */
static void halt_inside(uint32_t vector, struct frame *f)
{
	(void)f;
	if (vector != 2 || nr_seen != 1)
		return;
	*mem32(ICR) = ICR_NMI;
	*mem32(TIMER) = TIMER_VEC;
	*mem32(COUNT) = 20000000;
	__asm__ volatile("sti; hlt; cli");
	after_hlt = nr_seen > 1 ? seen[1].vector : 0;
}

static void nmi(void)
{
	forget();
	inside = 99;
	hook = send_another;
	*mem32(ICR) = ICR_NMI;
	for (unsigned i = 0; i < 2000 && nr_seen < 2; i++)
		in8(0x80);
	is("NMIs in the handler of the first", inside, 0);
	is("NMIs in all", nr_seen, 2);
	forget();
	after_hlt = 99;
	hook = halt_inside;
	*mem32(ICR) = ICR_NMI;
	for (unsigned i = 0; i < 2000 && nr_seen < 3; i++)
		in8(0x80);
	/* The timer's IRET is an IRET, and so unblocks: the second NMI may come before the CLI. */
	is("what ended HLT while NMIs were blocked", after_hlt, TIMER_VEC);
	is("events around that", nr_seen, 3);
}

/* --- interrupts ---- */

static void shadow(void)
{
	forget();
	*mem32(ICR) = ICR_SELF | IPI;
	__asm__ volatile("movl $9f, %0\n\t"
			 "sti\n\t"
			 "nop\n\t"
			 "9: nop\n\t"
			 "cli"
			 : "=m"(where));
	one("sti's shadow", IPI, where);
	forget();
	*mem32(ICR) = ICR_SELF | IPI;
	__asm__ volatile("movl $9f, %0\n\t"
			 "sti\n\t"
			 "hlt\n\t"
			 "9: nop\n\t"
			 "cli"
			 : "=m"(where));
	one("sti; hlt", IPI, where);
	/* CPUID in the shadow is done by the hypervisor, which must end it. */
	forget();
	*mem32(ICR) = ICR_SELF | IPI;
	__asm__ volatile("movl $9f, %0\n\t"
			 "sti\n\t"
			 "cpuid\n\t"
			 "9: nop\n\t"
			 "cli"
			 : "=m"(where)
			 : "a"(0)
			 : "ebx", "ecx", "edx");
	one("sti; cpuid", IPI, where);
	/* MOV SS has a shadow as well, and interrupts are on already. */
	forget();
	__asm__ volatile("movl $9f, %0\n\t"
			 "mov %%ss, %%ecx\n\t"
			 "movl %2, (%1)\n\t"
			 "sti\n\t"
			 "mov %%ecx, %%ss\n\t"
			 "nop\n\t"
			 "9: nop\n\t"
			 "cli"
			 : "=m"(where)
			 : "r"(ICR), "i"(ICR_SELF | IPI)
			 : "ecx", "memory");
	is("sti; mov ss: interrupts", nr_seen, 1);
}

static void priority(void)
{
	uint32_t eax = 0x80000001u, ecx;

	forget();
	*mem32(TPR) = 0x50;
	*mem32(ICR) = ICR_SELF | IPI_HIGH;
	*mem32(ICR) = ICR_SELF | IPI;
	__asm__ volatile("sti; nop; nop; cli");
	is("interrupts held back by the TPR", nr_seen, 0);
	*mem32(TPR) = 0x40;
	__asm__ volatile("sti; nop; nop; cli");
	is("interrupts over the TPR", nr_seen, 1);
	is("the first", seen[0].vector, IPI_HIGH);
	__asm__ volatile("cpuid" : "+a"(eax), "=c"(ecx) : : "ebx", "edx");
	if (!(ecx & 1u << 4)) {
		*mem32(TPR) = 0;
		return;
	}
	/* LOCK MOV CR0 is CR8 (AMD APM 3, MOV CRn): lowering it lets the interrupt in at once. */
	__asm__ volatile("movl $9f, %0\n\t"
			 "sti\n\t"
			 "nop\n\t"
			 ".byte 0xf0, 0x0f, 0x20, 0xc1\n\t"
			 ".byte 0xf0, 0x0f, 0x22, 0xc2\n\t"
			 "9: nop\n\t"
			 "cli"
			 : "=m"(where), "=c"(ecx)
			 : "d"(0));
	is("CR8", ecx, 4);
	is("interrupts after CR8", nr_seen, 2);
	is("the second", seen[1].vector, IPI);
	is("where CR8 let it in", seen[1].eip, where);
	is("the TPR after CR8", *mem32(TPR), 0);
}

/* --- the debug exception ---- */

static uint32_t read_dr6(void)
{
	uint32_t v;

	__asm__ volatile("mov %%dr6, %0" : "=r"(v));
	return v;
}

static volatile uint32_t dr6;

static void stop_stepping(uint32_t vector, struct frame *f)
{
	(void)vector;
	dr6 = read_dr6();
	if (f->eip >= where)
		f->eflags &= ~0x100u;
}

/* Each instruction that the hypervisor executes is one step, as all others are. */
static void steps(void)
{
	forget();
	hook = stop_stepping;
	__asm__ volatile("movl $9f, %0\n\t"
			 "pushfl\n\t"
			 "orl $0x100, (%%esp)\n\t"
			 "popfl\n\t"
			 "nop\n\t"		/* 1 */
			 "cpuid\n\t"		/* 2 */
			 "mov $0x10, %%ecx\n\t" /* 3 */
			 "rdmsr\n\t"		/* 4 */
			 "in $0x80, %%al\n\t"	/* 5 */
			 "out %%al, $0x80\n\t"	/* 6 */
			 "mov %%cr4, %%eax\n\t" /* 7 */
			 "mov %%eax, %%cr4\n\t" /* 8 */
			 "mov (%1), %%eax\n\t"	/* 9 */
			 "mov %%eax, (%1)\n\t"	/* 10 */
			 "wbinvd\n\t"		/* 11 */
			 "9: nop"
			 : "=m"(where)
			 : "S"(TPR)
			 : "eax", "ebx", "ecx", "edx", "memory", "cc");
	is("single steps", nr_seen, 11);
	is("the last of them", seen[nr_seen - 1].eip, where);
	is("DR6.BS", dr6 & 0x4000, 0x4000);
}

static void look_at_dr6(uint32_t vector, struct frame *f)
{
	(void)vector;
	dr6 = read_dr6(); /* with DR7.GD still set this would be the next #DB */
	f->eflags |= 0x10000;
	__asm__ volatile("mov %0, %%dr7" : : "r"(0x400));
}

/* QEMU leaves a breakpoint armed over #VMEXIT: put where no other guest of ours executes. */
#define BREAK 0x600000u

static void breakpoints(void)
{
	uint32_t v;

	forget();
	hook = look_at_dr6;
	*mem32(BREAK) = 0xc390c390u; /* nop; ret */
	__asm__ volatile("mov %0, %%dr6; mov %1, %%dr1; mov %2, %%dr7\n\tcpuid\n\tcall *%1"
			 :
			 : "r"(0), "S"(BREAK), "r"(0x404 | 0x4), "a"(0)
			 : "ebx", "ecx", "edx", "memory");
	is("breakpoints", nr_seen, 1);
	is("where", seen[0].eip, BREAK);
	is("DR6.B1", dr6 & 0xf, 2);
	__asm__ volatile("mov %%dr1, %0" : "=r"(v));
	is("DR1", v, BREAK);
	__asm__ volatile("mov %0, %%dr1; mov %0, %%dr6" : : "r"(0));
}

static void general_detect(void)
{
	uint32_t v;

	forget();
	hook = look_at_dr6;
	__asm__ volatile("mov %0, %%dr7\n\t"
			 "movl $9f, %1\n\t"
			 "9: mov %%dr0, %0"
			 : "=r"(v), "=m"(where)
			 : "0"(0x2400));
	if (nr_seen == 0) /* not emulated by QEMU 7.2 */
		return;
	one("DR7.GD", 1, where);
	is("DR6.BD", dr6 & 0x2000, 0x2000);
}

uint32_t guest_main(const struct multiboot_info *info)
{
	(void)info;
	say("events: going\n");
	load_table();
	*mem32(SVR) = 0x1ff;
	*mem32(DIVIDE) = 0xb;
	fresh_stacks();
	nmi();
	shadow();
	priority();
	steps();
	breakpoints();
	general_detect();
	say("events: done, %u failures\n", failures);
	return failures != 0;
}
