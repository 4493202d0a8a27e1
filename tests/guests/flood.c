/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes to the console as fast as it can, for ever. */
#include "guest.h"

uint32_t guest_main(const struct multiboot_info *info)
{
	(void)info;
	for (uint32_t line = 0;; line++)
		say("flood: line %u of a guest that never stops talking\n", line);
}
