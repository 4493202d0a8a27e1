/* SPDX-License-Identifier: BSD-2-Clause */
/* Spins or halts with interrupts off, for ever; "halt" in the command line chooses. */
#include "guest.h"

uint32_t guest_main(const struct multiboot_info *info)
{
	const char *s = (const char *)info->cmdline;
	bool halt = false;

	for (; *s; s++)
		halt |= s[0] == 'h' && s[1] == 'a' && s[2] == 'l' && s[3] == 't';
	say("spin: %s with interrupts off\n", halt ? "halting" : "spinning");
	for (;;) {
		if (halt)
			__asm__ volatile("cli; hlt");
		else
			__asm__ volatile("cli; 1: jmp 1b");
	}
}
