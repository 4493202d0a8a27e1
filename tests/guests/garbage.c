/* SPDX-License-Identifier: BSD-2-Clause */
/* Executes random bytes again and again, until it has done something that it does not come back
 * from. */
#include "guest.h"

#define RAM    0x600000u
#define LENGTH 64u

static uint32_t state = 0x51ce5eed;

static uint8_t random_byte(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return (uint8_t)state;
}

static void execute(uint32_t address)
{
	((void (*)(void))address)();
}

static void execute_ud2(uint32_t unused)
{
	(void)unused;
	__asm__ volatile("ud2");
}

uint32_t guest_main(const struct multiboot_info *info)
{
	uint32_t survived = 0;

	(void)info;
	if (attempt(execute_ud2, 0) != 6)
		return 1;
	say("garbage: ud2 is #UD\n");
	for (;;) {
		for (uint32_t i = 0; i < LENGTH; i++)
			*(volatile uint8_t *)(RAM + i) = random_byte();
		attempt(execute, RAM);
		if (++survived % 1000 == 0)
			say("garbage: %u rounds\n", survived);
		if (survived == 20000)
			return 0;
	}
}
