/* SPDX-License-Identifier: BSD-2-Clause */
/* Triple fault: an exception with no descriptor table to take it. */
#include "guest.h"

uint32_t guest_main(const struct multiboot_info *info)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) none = {0, 0};

	(void)info;
	say("triple: going\n");
	__asm__ volatile("lidt %0; int3" : : "m"(none));
	return 1;
}
