/* SPDX-License-Identifier: BSD-2-Clause */
/* Power: ACPI S5, and every way to reset a PC that there is, the most polite first. */
#include "arch/x86/power.h"

#include "arch/machine.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/panic.h"
#include "arch/x86/time.h"
#include "lib/util.h"

/* PM1 control (ACPI 4.8.3.2.1) and, on hardware-reduced machines, sleep control (4.8.3.7). */
#define PM1_SCI_EN	BIT(0)
#define PM1_SLP_TYP(t)	((uint32_t)(t) << 10)
#define PM1_SLP_TYP_ALL (7U << 10)
#define PM1_SLP_EN	BIT(13)
#define SLEEP_TYP(t)	((uint32_t)(t) << 2)
#define SLEEP_EN	BIT(5)

#define ENABLE_PATIENCE_MS 3000 /* SMI handlers take their time */

static const struct acpi_info *acpi;
static volatile void *reset_window, *sleep_window; /* registers in memory space */

void power_init(const struct acpi_info *info)
{
	acpi = info;
	if (acpi->reset.address && acpi->reset.space == ACPI_SPACE_MEMORY)
		reset_window = paging_map_device(pa(acpi->reset.address), 1);
	if (acpi->sleep_control.address && acpi->sleep_control.space == ACPI_SPACE_MEMORY)
		sleep_window = paging_map_device(pa(acpi->sleep_control.address), 1);
}

static void mmio_write8(volatile void *p, uint8_t v)
{
	__asm__ volatile("movb %1, %0" : "=m"(*(volatile uint8_t *)p) : "q"(v) : "memory");
}

static void write_register8(const struct acpi_register *r, volatile void *window, uint8_t v)
{
	uint32_t device = r->address >> 32 & 31, function = r->address >> 16 & 7;

	switch (r->space) {
	case ACPI_SPACE_IO:
		out8((uint16_t)r->address, v);
		break;
	case ACPI_SPACE_MEMORY:
		if (window)
			mmio_write8(window, v);
		break;
	case ACPI_SPACE_PCI:
		out32(0xcf8,
		      (uint32_t)(BIT(31) | device << 11 | function << 8 | (r->address & 0xfc)));
		out8((uint16_t)(0xcfc + (r->address & 3)), v);
		break;
	}
}

static bool is_port(const struct acpi_register *r)
{
	return r->space == ACPI_SPACE_IO && r->address != 0;
}

/* Firmware that starts in legacy mode ignores sleep requests until asked for ACPI mode (4.8.2.5).
 */
static void enable_acpi_mode(uint16_t pm1)
{
	if (in16(pm1) & PM1_SCI_EN || acpi->smi_command == 0 || acpi->acpi_enable == 0)
		return;
	out8((uint16_t)acpi->smi_command, acpi->acpi_enable);
	for (unsigned ms = 0; ms < ENABLE_PATIENCE_MS && !(in16(pm1) & PM1_SCI_EN); ms++)
		time_delay_us(1000);
}

static void write_pm1(const struct acpi_register *r, uint8_t type)
{
	uint16_t port = (uint16_t)r->address;
	uint32_t v;

	if (!is_port(r))
		return;
	v = (in16(port) & ~(PM1_SLP_TYP_ALL | (uint32_t)PM1_SLP_EN)) | PM1_SLP_TYP(type);
	/* Type first, then the same with the enable bit: some chipsets want two writes. */
	out16(port, (uint16_t)v);
	out16(port, (uint16_t)(v | PM1_SLP_EN));
}

static void enter_s5(void)
{
	if (acpi->hardware_reduced) {
		write_register8(&acpi->sleep_control, sleep_window,
				(uint8_t)(SLEEP_TYP(acpi->s5_type_a) | SLEEP_EN));
		return;
	}
	if (!is_port(&acpi->pm1a_control))
		return;
	enable_acpi_mode((uint16_t)acpi->pm1a_control.address);
	write_pm1(&acpi->pm1a_control, acpi->s5_type_a);
	write_pm1(&acpi->pm1b_control, acpi->s5_type_b);
}

void machine_poweroff(void)
{
	interrupts_off();
	if (acpi && acpi->s5) {
		enter_s5();
		time_delay_us(2000000);
	}
	report("This machine cannot be switched off by software (no ACPI S5): switch it off by "
	       "hand.");
	machine_halt();
}

/* With no descriptor table the next exception cannot be delivered, nor can the double fault. */
static void triple_fault(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0; int3" ::"m"(none));
}

static void keyboard_controller_reset(void)
{
	for (unsigned i = 0; i < 10000 && in8(0x64) & 2; i++)
		time_delay_us(10);
	out8(0x64, 0xfe);
}

void machine_reboot(void)
{
	interrupts_off();
	if (acpi && acpi->reset.address) {
		write_register8(&acpi->reset, reset_window, acpi->reset_value);
		time_delay_us(100000);
	}
	out8(0xcf9, 0x02); /* hard reset, then go: two writes because it is the edge that counts */
	time_delay_us(50);
	out8(0xcf9, 0x06);
	time_delay_us(100000);
	keyboard_controller_reset();
	time_delay_us(100000);
	triple_fault();
	machine_halt();
}

void machine_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" ::: "memory");
}
