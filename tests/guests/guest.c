/* SPDX-License-Identifier: BSD-2-Clause */
/* The test guests' runtime. */
#include "guest.h"

#include <stdarg.h>

#define COM1	   0x3f8
#define LSR_THRE   0x20
#define DEBUG_EXIT 0xf4

extern void (*const vector_table[32])(void);

void uart_init(void)
{
	out8(COM1 + 1, 0);    /* no interrupts */
	out8(COM1 + 3, 0x80); /* divisor 1: 115200 */
	out8(COM1 + 0, 1);
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 0x03); /* 8N1 */
	out8(COM1 + 2, 0x07);
	out8(COM1 + 4, 0x03); /* not in loop-back */
}

static void put(char c)
{
	while (!(in8(COM1 + 5) & LSR_THRE))
		__asm__ volatile("pause");
	out8(COM1, (uint8_t)c);
}

static void put_text(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			put('\r');
		put(*s);
	}
}

static void put_number(uint32_t value, uint32_t base)
{
	char digits[11];
	unsigned n = sizeof(digits) - 1;

	digits[n] = '\0';
	do
		digits[--n] = "0123456789abcdef"[value % base];
	while (value /= base);
	put_text(digits + n);
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		char plain[2] = {*fmt, '\0'};

		if (*fmt != '%') {
			put_text(plain);
			continue;
		}
		switch (*++fmt) {
		case 's':
			put_text(va_arg(ap, const char *));
			break;
		case 'u':
			put_number(va_arg(ap, uint32_t), 10);
			break;
		case 'x':
			put_number(va_arg(ap, uint32_t), 16);
			break;
		default:
			put_text("%");
		}
	}
	va_end(ap);
}

_Noreturn void finish(uint32_t status)
{
	out32(DEBUG_EXIT, status);
	for (;;)
		__asm__ volatile("cli; hlt");
}

_Noreturn void unexpected(uint32_t vector, uint32_t error, uint32_t eip)
{
	uart_init();
	say("unexpected exception %u, error %x at %x\n", vector, error, eip);
	finish(255);
}

void set_gate(unsigned vector, void (*handler)(void), unsigned dpl, uint16_t cs)
{
	uint32_t address = (uint32_t)handler;

	/* 32-bit interrupt gate (Intel SDM 3A, 6.11) */
	idt[vector] = (uint64_t)(address & 0xffff0000u) << 32 |
		      (uint64_t)(0x8e00u | dpl << 13) << 32 | (uint32_t)cs << 16 |
		      (address & 0xffff);
}

void guest_init(void)
{
	for (unsigned v = 0; v < 32; v++)
		set_gate(v, vector_table[v], 0, 0x08);
	/* Nothing comes from the 8259 pair. */
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
	uart_init();
}
