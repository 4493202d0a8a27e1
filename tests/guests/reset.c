/* SPDX-License-Identifier: BSD-2-Clause */
/* Resets the machine, or switches it off; the last letter of the command line says how. */
#include "guest.h"

uint32_t guest_main(const struct multiboot_info *info)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) empty = {0, 0};
	const char *s = (const char *)info->cmdline;

	while (*s && s[1])
		s++;
	say("reset: marker %x, by %s\n", *mem32(0x700000), s);
	*mem32(0x700000) = 0xdeadbeef;
	switch (*s) {
	case 'c': /* reset control register */
		out8(0xcf9, 0x02);
		out8(0xcf9, 0x06);
		break;
	case 'k': /* keyboard controller */
		out8(0x64, 0xfe);
		break;
	case '9': /* fast reset */
		out8(0x92, 0x01);
		break;
	case 't': /* triple fault on an empty descriptor table */
		__asm__ volatile("lidt %0; int3" : : "m"(empty));
		break;
	case 'i': /* INIT to ourselves: the bootstrap processor starts the firmware */
		*mem32(0xfee000f0) = 0x1ff;
		*mem32(0xfee00300) = 0x4500;
		break;
	}
	for (uint32_t i = 0; i < 100000; i++)
		in8(0x80);
	return 3;
}
