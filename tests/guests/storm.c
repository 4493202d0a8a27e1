/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every source of events at its fastest, all at once and for ever: PIT and local APIC timers with a
 * count of 1, the RTC at 8192 Hz, an interrupt to ourselves from each handler, NMIs to ourselves. A
 * hypervisor that works off each tick would do nothing else.
 */
#include "guest.h"

#define LAPIC	  0xfee00000u
#define EOI	  (LAPIC + 0xb0)
#define SVR	  (LAPIC + 0xf0)
#define ICR	  (LAPIC + 0x300)
#define LVT_TIMER (LAPIC + 0x320)
#define COUNT	  (LAPIC + 0x380)
#define DIVIDE	  (LAPIC + 0x3e0)
#define IOREGSEL  0xfec00000u
#define IOWIN	  0xfec00010u

static uint64_t table[256] __attribute__((aligned(8)));
static volatile uint32_t interrupts, nmis;

void on_interrupt(void);
void on_interrupt(void)
{
	if (++interrupts == 1000)
		say("storm: going, %u NMIs\n", nmis);
	out8(0x70, 0x0c); /* the RTC's next needs this read */
	in8(0x71);
	*mem32(EOI) = 0;
	*mem32(ICR) = 0x40050; /* ourselves, vector 50h */
	if (interrupts % 16 == 0)
		*mem32(ICR) = 0x400; /* NMI */
}

void on_nmi(void);
void on_nmi(void)
{
	nmis++;
	if (nmis % 2)
		*mem32(ICR) = 0x400;
}

void interrupt(void);
void nmi(void);
__asm__("interrupt: pusha; call on_interrupt; popa; iret\n"
	"nmi: pusha; call on_nmi; popa; iret\n");

static void gate(unsigned vector, void (*handler)(void))
{
	uint32_t address = (uint32_t)handler;

	table[vector] = (uint64_t)((address & 0xffff0000u) | 0x8e00u) << 32 | 0x08u << 16 |
			(address & 0xffff);
}

static void route(unsigned pin, uint8_t vector)
{
	*mem32(IOREGSEL) = 0x11 + 2 * pin;
	*mem32(IOWIN) = 0;
	*mem32(IOREGSEL) = 0x10 + 2 * pin;
	*mem32(IOWIN) = vector;
}

uint32_t guest_main(const struct multiboot_info *info)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) idtr = {sizeof(table) - 1, (uint32_t)table};

	(void)info;
	for (unsigned v = 32; v < 256; v++)
		gate(v, interrupt);
	for (unsigned v = 0; v < 32; v++)
		table[v] = idt[v];
	gate(2, nmi);
	__asm__ volatile("lidt %0" : : "m"(idtr));
	*mem32(SVR) = 0x1ff;
	route(2, 0x60);
	route(8, 0x61);
	out8(0x43, 0x34); /* PIT channel 0, mode 2, count 1 is illegal there: 2 */
	out8(0x40, 2);
	out8(0x40, 0);
	out8(0x70, 0x0a);
	out8(0x71, 0x23); /* 8192 Hz */
	out8(0x70, 0x0b);
	out8(0x71, 0x72); /* all three interrupts */
	*mem32(DIVIDE) = 0xb;
	*mem32(LVT_TIMER) = 0x20062;
	*mem32(COUNT) = 1;
	*mem32(ICR) = 0x40050;
	__asm__ volatile("sti");
	for (;;)
		__asm__ volatile("hlt");
}
