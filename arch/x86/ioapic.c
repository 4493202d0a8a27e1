/* SPDX-License-Identifier: BSD-2-Clause */
/* Host interrupt routing: the 8259s out of the way, I/O APICs (Intel 82093AA data sheet) for what
 * we use. */
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/traps.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/util.h"

#define PIC1_COMMAND 0x20
#define PIC1_DATA    0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA    0xa1

#define SELECT	    0x00
#define WINDOW	    0x10
#define REG_VERSION 0x01
#define REG_PIN(n)  (0x10 + 2 * (n)) /* low half; high half follows */
#define PIN_MASKED  0x10000U
#define PIN_LEVEL   0x8000U
#define PIN_LOW	    0x2000U

struct ioapic {
	volatile uint8_t *regs;
	uint32_t gsi_base, pins;
};

/* Where an ISA interrupt arrives. */
struct isa_route {
	uint32_t gsi, mode;
};

static struct ioapic ioapics[ACPI_MAX_IOAPICS];
static unsigned nr_ioapics;
static struct isa_route isa[16];

/*
 * BIOSes leave some of them unmasked. Initialised (ICW1-4) so that a spurious interrupt, which
 * cannot be masked, does not arrive as an exception.
 */
void pic_disable(void)
{
	out8(PIC1_DATA, 0xff);
	out8(PIC2_DATA, 0xff);
	out8(PIC1_COMMAND, 0x11);
	out8(PIC2_COMMAND, 0x11);
	out8(PIC1_DATA, VEC_PIC);
	out8(PIC2_DATA, VEC_PIC + 8);
	out8(PIC1_DATA, 4);
	out8(PIC2_DATA, 2);
	out8(PIC1_DATA, 1);
	out8(PIC2_DATA, 1);
	out8(PIC1_DATA, 0xff);
	out8(PIC2_DATA, 0xff);
}

static uint32_t ioapic_read(const struct ioapic *a, uint32_t reg)
{
	mmio_write32(a->regs + SELECT, reg);
	return mmio_read32(a->regs + WINDOW);
}

static void ioapic_write(const struct ioapic *a, uint32_t reg, uint32_t v)
{
	mmio_write32(a->regs + SELECT, reg);
	mmio_write32(a->regs + WINDOW, v);
}

static void set_isa_routes(const struct acpi_info *acpi)
{
	for (uint32_t irq = 0; irq < 16; irq++)
		isa[irq] = (struct isa_route){irq, 0};
	for (size_t i = 0; i < acpi->nr_overrides; i++) {
		const struct acpi_override *o = &acpi->overrides[i];

		isa[o->irq].gsi = o->gsi;
		isa[o->irq].mode = (o->active_low ? PIN_LOW : 0) | (o->level ? PIN_LEVEL : 0);
	}
}

unsigned ioapic_init(const struct acpi_info *acpi)
{
	set_isa_routes(acpi);
	for (size_t i = 0; i < acpi->nr_ioapics; i++) {
		struct ioapic *a = &ioapics[nr_ioapics];
		uint32_t version;

		a->regs = paging_map_device(acpi->ioapics[i].base, WINDOW + 4);
		if (a->regs == NULL)
			continue;
		version = ioapic_read(a, REG_VERSION);
		if (version == UINT32_MAX) {
			log_warn("I/O APIC at 0x%lx does not answer", acpi->ioapics[i].base.v);
			continue;
		}
		a->gsi_base = acpi->ioapics[i].gsi_base;
		a->pins = (version >> 16 & 0xff) + 1;
		for (uint32_t pin = 0; pin < a->pins; pin++)
			ioapic_write(a, REG_PIN(pin), PIN_MASKED);
		nr_ioapics++;
	}
	return nr_ioapics;
}

static const struct ioapic *ioapic_of(uint32_t gsi)
{
	for (unsigned i = 0; i < nr_ioapics; i++)
		if (gsi >= ioapics[i].gsi_base && gsi - ioapics[i].gsi_base < ioapics[i].pins)
			return &ioapics[i];
	return NULL;
}

/* The destination is a physical id of eight bits; 255 is everybody. */
int ioapic_route_isa(uint8_t irq, uint8_t vector)
{
	const struct ioapic *a = irq < 16 ? ioapic_of(isa[irq].gsi) : NULL;
	uint32_t pin;

	if (a == NULL || apic_id() >= 0xff)
		return -ENODEV;
	pin = isa[irq].gsi - a->gsi_base;
	ioapic_write(a, REG_PIN(pin), PIN_MASKED);
	ioapic_write(a, REG_PIN(pin) + 1, apic_id() << 24);
	ioapic_write(a, REG_PIN(pin), isa[irq].mode | vector);
	return 0;
}

void ioapic_mask_isa(uint8_t irq)
{
	const struct ioapic *a = irq < 16 ? ioapic_of(isa[irq].gsi) : NULL;

	if (a)
		ioapic_write(a, REG_PIN(isa[irq].gsi - a->gsi_base), PIN_MASKED);
}
