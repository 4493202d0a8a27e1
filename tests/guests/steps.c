/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exceptions without end. The last letter of the command line says which: s: single-stepping
 * through a handler that keeps TF set; d: a data breakpoint on the stack that #DB is pushed to
 * (CVE-2015-8104); a: #AC whose frame is pushed to a misaligned stack (CVE-2015-5307). A processor
 * that intercepts neither would stay in the guest for ever.
 */
#include "guest.h"

void keep_stepping(void);
void step_again(void);
__asm__("keep_stepping:\n"
	"	orl $0x100, 8(%esp)\n"
	"	iret\n"
	"step_again:\n"
	"1:	nop\n"
	"	jmp 1b\n");

void alignment(void);
__asm__("alignment:\n"
	"	iret\n");

static void single_step(void)
{
	set_gate(1, keep_stepping, 0, 0x08);
	__asm__ volatile("pushfl; orl $0x100, (%esp); popfl");
	step_again();
}

static void watch_stack(void)
{
	uint32_t esp = 0x6ffff0;

	set_gate(1, keep_stepping, 0, 0x08);
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(esp - 4), "r"(0x000d0003));
	__asm__ volatile("mov %0, %%esp; push %%eax; pop %%eax; 1: push %%eax; pop %%eax; jmp 1b"
			 :
			 : "r"(esp));
}

static void misaligned(void)
{
	uint32_t cr0;

	set_gate(17, alignment, 3, 0x1b);
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | 1u << 18)); /* CR0.AM */
	/* To ring 3 with AC set and a stack that is off by one. */
	__asm__ volatile("pushl $0x23\n"
			 "pushl $0x6ffff1\n"
			 "pushl $0x40002\n"
			 "pushl $0x1b\n"
			 "pushl $1f\n"
			 "iret\n"
			 "1: push %%eax\n"
			 "pop %%eax\n"
			 "jmp 1b"
			 :
			 :
			 : "memory");
}

uint32_t guest_main(const struct multiboot_info *info)
{
	const char *s = (const char *)info->cmdline;

	while (*s && s[1])
		s++;
	say("steps: going\n");
	if (*s == 's')
		single_step();
	else if (*s == 'd')
		watch_stack();
	else
		misaligned();
	return 4;
}
