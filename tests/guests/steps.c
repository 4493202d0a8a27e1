/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exceptions without end. The last letter of the command line says which: s: single-stepping
 * through a handler that keeps TF set; d: an instruction breakpoint that the handler returns to
 * without RF; a: #AC whose frame is pushed to a misaligned stack (CVE-2015-5307). A processor that
 * intercepts neither #DB nor #AC would stay in the guest for ever. (CVE-2015-8104, a data
 * breakpoint on the stack that #DB is pushed to, cannot be had here: QEMU 7.2 itself aborts on it.)
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

void come_back(void);
__asm__("come_back:\n"
	"	iret\n");

static void single_step(void)
{
	set_gate(1, keep_stepping, 0, 0x08);
	__asm__ volatile("pushfl; orl $0x100, (%esp); popfl");
	step_again();
}

/* QEMU 7.2 leaves a breakpoint armed when #VMEXIT has cleared DR7: it would hit the next guest,
 * too, wherever that has code. So it is put where no other test guest executes. */
#define LOOP 0x600000u

static void breakpoint(void)
{
	set_gate(1, come_back, 0, 0x08);
	*mem32(LOOP) = 0xfdeb90; /* 1: nop; jmp 1b */
	__asm__ volatile("mov %0, %%dr0\n"
			 "mov %1, %%dr7\n"
			 "jmp *%0"
			 :
			 : "r"(LOOP), "r"(0x2));
}

static void misaligned(void)
{
	uint32_t cr0;

	set_gate(17, come_back, 3, 0x1b);
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
		breakpoint();
	else
		misaligned();
	return 4;
}
