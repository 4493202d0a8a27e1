/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What ring 3 may not do although the hypervisor does it for ring 0: on SVM some intercepts come
 * before the processor's own privilege check (XSETBV), others reach instructions that any ring may
 * execute (SMSW while reads of CR0 are intercepted).
 */
#include "guest.h"

#define BP 3
#define GP 13

#define CR0_MP	    0x2u
#define CR0_CD	    0x40000000u
#define CR4_OSXSAVE 0x40000u

#define USER_CODE 0x1bu
#define USER_DATA 0x23u
#define SEL_TASK  0x28u

struct task_state {
	uint32_t link, esp0, ss0, rest[22], io_map;
} __attribute__((aligned(128))); /* Intel SDM 3A, 8.2.1 */

extern void (*const vector_table[32])(void);

static struct task_state task;
static uint8_t kernel_stack[4096], user_stack[4096];
static uint64_t table[6];
static uint32_t failures;
static volatile uint32_t word;

static void expect(const char *what, uint32_t got, uint32_t want)
{
	if (got == want)
		return;
	failures++;
	say("rings: %s: got %x, want %x\n", what, got, want);
}

/* Descriptors as start.asm has them, and a task state segment, for the stack of ring 0. */
static void load_task(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) gdtr;
	uint32_t at = (uint32_t)&task;

	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	for (unsigned i = 0; i < 5; i++)
		table[i] = ((const uint64_t *)gdtr.base)[i];
	table[5] = (uint64_t)(at & 0xff000000u) << 32 | 0x0000890000000000ULL |
		   (uint64_t)(at & 0xffffffu) << 16 | (sizeof(task) - 1);
	task.esp0 = (uint32_t)kernel_stack + sizeof(kernel_stack);
	task.ss0 = 0x10;
	task.io_map = sizeof(task) << 16; /* none */
	gdtr.limit = sizeof(table) - 1;
	gdtr.base = (uint32_t)table;
	__asm__ volatile("lgdt %0; ltr %w1" : : "m"(gdtr), "r"(SEL_TASK));
}

/* Goes on at `code` in ring 3; attempt() brings us back. */
static void to_ring_3(uint32_t code)
{
	__asm__ volatile("mov %2, %%ds\n\t"
			 "mov %2, %%es\n\t"
			 "push %2\n\t"
			 "push %1\n\t"
			 "pushl $2\n\t"
			 "push %3\n\t"
			 "push %0\n\t"
			 "iret"
			 :
			 : "r"(code), "r"(user_stack + sizeof(user_stack)), "r"(USER_DATA),
			   "r"(USER_CODE)
			 : "memory");
}

#define USER(name, code) /* ends in INT3, or in what its instruction raises */                     \
	void name(void);                                                                           \
	__asm__(#name ":\n" code "\n\tint3\n")

USER(user_nothing, "nop");
USER(user_xsetbv, "xor %ecx, %ecx; xor %edx, %edx; mov $3, %eax; xsetbv");
USER(user_smsw, "smsw %eax; mov %eax, word");
USER(user_smsw_memory, "smsw word");
USER(user_lmsw, "xor %eax, %eax; lmsw %ax");
USER(user_clts, "clts");
USER(user_mov_cr0, "mov %cr0, %eax");
USER(user_mov_cr4, "mov %cr4, %eax");
USER(user_mov_dr, "mov %dr7, %eax");
USER(user_hlt, "hlt");
USER(user_wbinvd, "wbinvd");
USER(user_invd, "invd");
USER(user_rdmsr, "mov $0x10, %ecx; rdmsr");
USER(user_wrmsr, "mov $0xc0000103, %ecx; wrmsr");
USER(user_in, "in $0x71, %al");
USER(user_outs, "mov $0x3f8, %edx; mov $word, %esi; outsb");
USER(user_cpuid, "xor %eax, %eax; cpuid");
USER(user_rdpmc, "xor %ecx, %ecx; rdpmc");

static void ring_3(const char *what, void (*code)(void), int want)
{
	expect(what, (uint32_t)attempt(to_ring_3, (uint32_t)code), (uint32_t)want);
}

static uint32_t read_cr0(void)
{
	uint32_t value;

	__asm__ volatile("mov %%cr0, %0" : "=r"(value));
	return value;
}

static void write_cr0(uint32_t value)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(value));
}

static void privileged(void)
{
	ring_3("nothing", user_nothing, BP);
	ring_3("lmsw", user_lmsw, GP);
	ring_3("clts", user_clts, GP);
	ring_3("mov from cr0", user_mov_cr0, GP);
	ring_3("mov from cr4", user_mov_cr4, GP);
	ring_3("mov from dr7", user_mov_dr, GP);
	ring_3("hlt", user_hlt, GP);
	ring_3("wbinvd", user_wbinvd, GP);
	ring_3("invd", user_invd, GP);
	ring_3("rdmsr", user_rdmsr, GP);
	ring_3("wrmsr", user_wrmsr, GP);
	ring_3("in", user_in, GP);
	ring_3("outs", user_outs, GP);
	ring_3("rdpmc", user_rdpmc, GP);
	ring_3("cpuid", user_cpuid, BP);
}

static void xsetbv(void)
{
	uint32_t eax = 1, ecx, edx, cr4;

	__asm__ volatile("cpuid" : "+a"(eax), "=c"(ecx), "=d"(edx) : : "ebx");
	if (!(ecx & 1u << 26)) {
		say("rings: no XSAVE\n");
		return;
	}
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSXSAVE));
	ring_3("xsetbv", user_xsetbv, GP);
	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	expect("XCR0 after ring 3's xsetbv", eax, 1);
	__asm__ volatile("xsetbv" : : "a"(3), "d"(0), "c"(0));
	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	expect("XCR0 after ours", eax, 3);
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
}

/* With CR0.CD set a guest sees another CR0 than the processor has. */
static void machine_status(void)
{
	uint32_t cr0 = read_cr0();
	uint16_t status;

	write_cr0(cr0 | CR0_CD);
	word = 0;
	ring_3("smsw", user_smsw, BP);
	expect("smsw's value", word & 0xffff, cr0 & 0xffff);
	word = 0xabcd0000;
	ring_3("smsw to memory", user_smsw_memory, BP);
	expect("smsw's value in memory", word, 0xabcd0000 | (cr0 & 0xffff));
	ring_3("lmsw, CD set", user_lmsw, GP);
	ring_3("clts, CD set", user_clts, GP);
	__asm__ volatile("smsw %0" : "=m"(status));
	expect("smsw in ring 0", status, cr0 & 0xffff);
	status = (uint16_t)(cr0 ^ CR0_MP);
	__asm__ volatile("lmsw %0" : : "m"(status));
	expect("CR0 after lmsw from memory", read_cr0(), (cr0 ^ CR0_MP) | CR0_CD);
	write_cr0(cr0);
	expect("CR0 in the end", read_cr0(), cr0);
}

uint32_t guest_main(const struct multiboot_info *info)
{
	(void)info;
	say("rings: going\n");
	load_task();
	set_gate(BP, vector_table[BP], 3, 0x08);
	privileged();
	machine_status();
	xsetbv();
	say("rings: done, %u failures\n", failures);
	return failures != 0;
}
