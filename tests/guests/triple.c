/* SPDX-License-Identifier: BSD-2-Clause */
/* Triple fault: no gate of the interrupt descriptor table is present. */
#include "guest.h"

uint32_t guest_main(const struct multiboot_info *info)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) absent = {32 * 8 - 1, 0x600000};

	(void)info;
	say("triple: going\n");
	__asm__ volatile("lidt %0; int3" : : "m"(absent));
	return 1;
}
