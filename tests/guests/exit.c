/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits with a status. */
#include "guest.h"

uint32_t guest_main(const struct multiboot_info *info)
{
	(void)info;
	say("exit: here I am, magic %x\n", boot_magic);
	return 42;
}
