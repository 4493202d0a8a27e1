/* SPDX-License-Identifier: BSD-2-Clause */
/* Touches every I/O port in every width, but for writes to those that end or reset the machine. */
#include "guest.h"

/* Ports where a write is a wish to go: reset, power-off, keyboard reset, exit. */
static bool ends_machine(uint32_t port, uint32_t width)
{
	static const uint16_t ports[] = {0x64, 0x92, 0xf4, 0xf5, 0xf6, 0xf7, 0x604, 0x605, 0xcf9};

	for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		if (ports[i] >= port && ports[i] < port + width)
			return true;
	return false;
}

static void touch(uint32_t port)
{
	static const uint32_t values[] = {0xffffffff, 0xa5a5a5a5, 0};
	uint16_t p = (uint16_t)port;

	in8(p);
	in16(p);
	in32(p);
	for (unsigned i = 0; i < 3; i++) {
		if (!ends_machine(port, 1))
			out8(p, (uint8_t)values[i]);
		if (!ends_machine(port, 2))
			out16(p, (uint16_t)values[i]);
		if (!ends_machine(port, 4))
			out32(p, values[i]);
	}
}

static void strings(uint32_t port)
{
	uint32_t count = 4;
	void *at = (void *)0x500000;

	__asm__ volatile("rep insb" : "+c"(count), "+D"(at) : "d"(port) : "memory");
	count = 4;
	__asm__ volatile("rep insl" : "+c"(count), "+D"(at) : "d"(port) : "memory");
	at = (void *)0x500000;
	count = 4;
	if (!ends_machine(port, 4))
		__asm__ volatile("rep outsl" : "+c"(count), "+S"(at) : "d"(port) : "memory");
}

uint32_t guest_main(const struct multiboot_info *info)
{
	uint32_t faults = 0;

	(void)info;
	say("ports: going\n");
	for (uint32_t port = 0; port < 0x10000; port++)
		faults += attempt(touch, port) != -1;
	uart_init();
	say("ports: all touched\n");
	for (uint32_t port = 0; port < 0x10000; port += 7)
		faults += attempt(strings, port) != -1;
	uart_init();
	say("ports: strings done, %u faults\n", faults);
	return faults != 0;
}
