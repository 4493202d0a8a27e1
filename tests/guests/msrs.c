/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads and writes every model-specific register of the ranges in use: each works or gives #GP. */
#include "guest.h"

static uint32_t low, high;

static void read_msr(uint32_t msr)
{
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
}

static void write_msr(uint32_t msr)
{
	__asm__ volatile("wrmsr" : : "a"(low), "d"(high), "c"(msr));
}

static uint32_t readable, writable, wrong;

static void count(int vector, uint32_t *works, uint32_t msr)
{
	if (vector == -1) {
		(*works)++;
	} else if (vector != 13) {
		wrong++;
		say("msrs: %x gives exception %u\n", msr, (uint32_t)vector);
	}
}

static void try_msr(uint32_t msr)
{
	static const uint32_t values[][2] = {
		{0xffffffff, 0xffffffff}, {0, 0}, {0xfffff001, 0xffff}, {0x1000, 0}};
	uint32_t old_low, old_high;
	bool works;

	low = high = 0;
	count(attempt(read_msr, msr), &readable, msr);
	old_low = low;
	old_high = high;
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		low = values[i][0];
		high = values[i][1];
		count(attempt(write_msr, msr), &writable, msr);
	}
	low = old_low;
	high = old_high;
	works = attempt(write_msr, msr) == -1;
	(void)works;
}

uint32_t guest_main(const struct multiboot_info *info)
{
	static const uint32_t ranges[][2] = {
		{0, 0x2000},
		{0x40000000, 0x40002000},
		{0x4b564d00, 0x4b564e00},
		{0x80000000, 0x80000100},
		{0xc0000000, 0xc0002000},
		{0xc0010000, 0xc0012000},
		{0xffffff00, 0xffffffff},
	};

	(void)info;
	say("msrs: going\n");
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		for (uint32_t msr = ranges[i][0]; msr < ranges[i][1]; msr++)
			try_msr(msr);
	say("msrs: %u reads and %u writes worked, %u wrong exceptions\n", readable, writable,
	    wrong);
	return wrong != 0 || readable == 0;
}
