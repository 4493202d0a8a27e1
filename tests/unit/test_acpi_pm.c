/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI fixed hardware, and the ways a guest resets its machine: 0xcf9, port 0x92, the 8042. */
// links: vm/dev/acpi_pm.c vm/dev/reset_ctl.c vm/dev/i8042.c vm/dev/debug_exit.c
// links: vm/clock.c vm/timer.c
#include "vm/dev/acpi_pm.h"
#include "vm/dev/debug_exit.h"
#include "vm/dev/i8042.h"
#include "vm/dev/reset_ctl.h"

#include "tests/host/devrig.h"
#include "tests/tap.h"

#define NS_PER_SEC 1000000000ULL
#define STS	   ACPI_PM1_EVENT
#define EN	   (ACPI_PM1_EVENT + 2)
#define CNT	   ACPI_PM1_CONTROL
#define TMR	   ACPI_PM_TIMER

#define HALF_TURN_NS 599932015941ULL /* the first ns at which 2^31 ticks have passed */

static struct acpi_pm pm;
static struct rig_line sci;
static unsigned calls;

static void called(void *ctx)
{
	(void)ctx;
	calls++;
}

static uint32_t in(unsigned off, unsigned size)
{
	return (uint32_t)acpi_pm_ops.read(&pm, off, size);
}

static void out(unsigned off, unsigned size, uint32_t val)
{
	acpi_pm_ops.write(&pm, off, size, val);
}

static void setup(void)
{
	struct irq_line line = rig_line(&sci);

	sci = (struct rig_line){0};
	calls = 0;
	rig_reset();
	acpi_pm_init(&pm, &rig_clock, &line, called, NULL);
	acpi_pm_reset(&pm);
}

static void test_timer(void)
{
	unsigned wrong = 0;
	uint64_t ns = 0;

	setup();
	is_u64(in(TMR, 4), 0, "the timer begins at 0");
	for (unsigned i = 1; i < 2000; i++) {
		uint64_t step = 1 + i * 7919ULL * i;

		rig_advance(step);
		ns += step;
		wrong += in(TMR, 4) != (uint32_t)((__uint128_t)ns * ACPI_PM_TIMER_HZ / NS_PER_SEC);
	}
	ok(wrong == 0, "3.579545 MHz to the tick over %u s", (unsigned)(ns / NS_PER_SEC));
	is_u64(in(TMR, 2) | in(TMR + 2, 2) << 16, in(TMR, 4), "words of it");
	is_u64(in(TMR + 1, 1), in(TMR, 4) >> 8 & 0xff, "a byte of it");
	out(TMR, 4, 0);
	ok(in(TMR, 4) != 0, "it cannot be written");
	ok(rig_next_timer() == UINT64_MAX, "a timer that is only read needs no host timer");
}

static void test_timer_interrupt(void)
{
	setup();
	rig_advance(HALF_TURN_NS - 1);
	is_u64(in(STS, 2), 0, "before bit 31 turns");
	is_u64(in(TMR, 4), 0x7fffffff, "the timer is about to");
	rig_advance(1);
	is_u64(in(STS, 2), 1, "TMR_STS");
	ok(!sci.level, "not enabled: no SCI");
	out(EN, 2, 0x0001);
	ok(sci.level, "enabled while set: at once");
	out(STS, 2, 0x0001);
	ok(!sci.level && in(STS, 2) == 0, "writing one clears it");
	rig_advance(HALF_TURN_NS);
	ok(sci.level && sci.rises == 2, "the next turn interrupts");
	vclock_stop(&rig_clock);
	out(STS, 2, 1);
	acpi_pm_pause(&pm);
	rig_advance(HALF_TURN_NS);
	ok(!sci.level, "not while the VM stands");
	vclock_start(&rig_clock);
	acpi_pm_resume(&pm);
	rig_advance(HALF_TURN_NS);
	ok(sci.level, "but afterwards");
}

static void test_button(void)
{
	setup();
	is_u64(in(CNT, 2), 1, "SCI_EN: in ACPI mode from the beginning");
	out(CNT, 2, 0);
	is_u64(in(CNT, 2), 1, "and for ever");
	acpi_pm_power_button(&pm);
	ok(in(STS, 2) == 0x100 && !sci.level, "pressed, nobody listens");
	out(EN, 2, 0x0100);
	ok(sci.level, "level: asserted when enabled");
	out(STS, 1, 0xff);
	ok(sci.level, "another byte of the status does not clear it");
	out(STS + 1, 1, 0x01);
	ok(!sci.level, "its own byte does");
	acpi_pm_power_button(&pm);
	ok(sci.rises == 2, "pressed again");
	out(STS, 4, 0x01000100);
	ok(!sci.level && in(EN, 2) == 0x100, "status and enable in one dword");
	out(EN, 2, 0xffff);
	is_u64(in(EN, 2), 0x0521, "enables that exist");
	is_u64(in(STS, 4), 0x05210000, "dword read");
	is_u64(in(6, 2), 0, "nothing between control and timer");
	out(EN, 2, 0);
	acpi_pm_power_button(&pm);
	out(STS + 1, 2, 0x2001); /* upper status byte and lower enable byte */
	ok(in(STS, 2) == 0 && in(EN, 2) == 0x20, "a word across two registers");
	out(EN + 1, 1, 0x01);
	is_u64(in(EN, 2), 0x120, "a byte of the enables leaves the other");
	rig_advance(HALF_TURN_NS);
	acpi_pm_power_button(&pm);
	is_u64(in(STS, 2), 0x101, "timer and button together");
	acpi_pm_reset(&pm);
	ok(in(STS, 4) == 0 && !sci.level, "reset forgets both");
}

static void test_power_off(void)
{
	setup();
	out(CNT, 2, 5 << 10);
	is_u64(calls, 0, "SLP_TYP without SLP_EN");
	is_u64(in(CNT, 2), 5 << 10 | 1, "is kept");
	out(CNT, 2, 1 << 10 | 0x2000);
	is_u64(calls, 0, "a state that is not offered");
	out(CNT, 2, 5 << 10 | 0x2001);
	is_u64(calls, 1, "S5");
	out(CNT, 2, 5 << 10);
	out(CNT + 1, 1, 0x34);
	is_u64(calls, 2, "by its upper byte");
	is_u64(in(CNT, 2) & 0x2000, 0, "SLP_EN reads zero");
	acpi_pm_reset(&pm);
	is_u64(in(CNT, 2), 1, "reset");
}

static void test_reset_ports(void)
{
	struct reset_ctl rc;

	calls = 0;
	reset_ctl_init(&rc, called, NULL);
	reset_ctl_reset(&rc);
	/* Linux: cf9 = inb & ~code; outb(cf9 | 2); outb(cf9 | code) */
	is_u64(reset_ctl_ops.read(&rc, 0, 1), 0, "0xcf9 reads zero");
	reset_ctl_ops.write(&rc, 0, 1, 0x02);
	is_u64(calls, 0, "choosing a hard reset is none");
	is_u64(reset_ctl_ops.read(&rc, 0, 1), 0x02, "the choice reads back");
	reset_ctl_ops.write(&rc, 0, 1, 0x06);
	is_u64(calls, 1, "0x06 resets");
	reset_ctl_ops.write(&rc, 0, 1, 0x0e);
	is_u64(calls, 2, "0x0e as well");
	reset_ctl_ops.write(&rc, 0, 1, 0x04);
	is_u64(calls, 3, "a soft one too");

	is_u64(port92_ops.read(&rc, 0, 1), 0x02, "port 0x92: A20 is on");
	port92_ops.write(&rc, 0, 1, 0x00);
	is_u64(port92_ops.read(&rc, 0, 1), 0x02, "and stays on");
	is_u64(calls, 3, "no reset by that");
	port92_ops.write(&rc, 0, 1, 0x03);
	is_u64(calls, 4, "fast reset");
	port92_ops.write(&rc, 0, 1, 0x03);
	is_u64(calls, 4, "by the edge only");
}

static struct i8042 kbc;
static struct rig_line irq1, irq12;

static uint8_t status(void)
{
	return (uint8_t)i8042_command_ops.read(&kbc, 0, 1);
}

static void command(uint8_t val)
{
	i8042_command_ops.write(&kbc, 0, 1, val);
}

static void data_out(uint8_t val)
{
	i8042_data_ops.write(&kbc, 0, 1, val);
}

static uint8_t data_in(void)
{
	return (uint8_t)i8042_data_ops.read(&kbc, 0, 1);
}

static uint8_t ask(uint8_t cmd)
{
	command(cmd);
	return status() & 1 ? data_in() : 0xee;
}

static void test_i8042(void)
{
	struct irq_line kbd = rig_line(&irq1), mouse = rig_line(&irq12);
	unsigned busy = 0;

	calls = 0;
	irq1 = irq12 = (struct rig_line){0};
	i8042_init(&kbc, &kbd, &mouse, called, NULL);
	i8042_reset(&kbc);
	is_u64(status() & 3, 0, "nothing to read, ready for a command: no wait before a reset");
	is_u64(ask(0xaa), 0x55, "self test");
	is_u64(ask(0xab), 0, "keyboard port test");
	is_u64(ask(0xa9), 0, "mouse port test");
	is_u64(ask(0x20), 0x34, "command byte: both ports off");
	command(0x60);
	data_out(0x47);
	is_u64(ask(0x20), 0x47, "written");
	command(0xad);
	is_u64(ask(0x20), 0x57, "keyboard off");
	command(0xa7);
	is_u64(ask(0x20), 0x77, "mouse off");
	command(0xa8);
	command(0xae);
	is_u64(ask(0x20), 0x47, "both on");
	irq1.rises = irq12.rises = 0;
	data_out(0xf2);
	ok(irq1.level && (status() & 0x61) == 0x41 && data_in() == 0xfe,
	   "a byte for the keyboard: at once no answer, IRQ 1");
	ok(!irq1.level && !(status() & 0x41), "fetched");
	command(0xd4);
	data_out(0xf2);
	ok(irq12.level && (status() & 0x61) == 0x61 && data_in() == 0xfe,
	   "a byte for the mouse: the same by IRQ 12");
	command(0xd3);
	data_out(0x5a);
	ok((status() & 0x61) == 0x21 && data_in() == 0x5a, "mouse loop");
	command(0xd2);
	data_out(0xa5);
	ok((status() & 0x61) == 0x01 && data_in() == 0xa5, "keyboard loop");
	command(0x7f);
	data_out(0x99);
	is_u64(ask(0x3f), 0x99, "controller RAM");
	is_u64(ask(0xd0), 0x03, "output port: A20 on, not in reset");
	command(0xd1);
	data_out(0x03);
	is_u64(calls, 0, "writing the output port without reset");
	for (unsigned cmd = 0; cmd < 256; cmd++) {
		if (cmd >= 0xf0 && !(cmd & 1))
			continue;
		command((uint8_t)cmd);
		busy |= status() & 2;
	}
	ok(busy == 0 && calls == 0, "no other command resets or keeps it busy");
	command(0xd1);
	data_out(0xfe);
	is_u64(calls, 1, "reset line by the output port");
	command(0xfe);
	is_u64(calls, 2, "reset pulse");
	i8042_reset(&kbc);
	ok(status() == 0x14 && !irq1.level && !irq12.level, "after reset");
}

static uint32_t exit_status;

static void exited(void *ctx, uint32_t value)
{
	(void)ctx;
	calls++;
	exit_status = value;
}

static void test_debug_exit(void)
{
	struct debug_exit de = {.exit = exited};

	calls = 0;
	is_u64(debug_exit_ops.read(&de, 0, 1), 0, "debug exit: reads are harmless");
	is_u64(calls, 0, "and end nothing");
	debug_exit_ops.write(&de, 0, 1, 3);
	ok(calls == 1 && exit_status == 3, "the status is what was written");
	debug_exit_ops.write(&de, 0, 4, 0x12345678);
	is_u64(exit_status, 0x12345678, "all 32 bits of it");
}

int main(void)
{
	test_timer();
	test_timer_interrupt();
	test_button();
	test_power_off();
	test_reset_ports();
	test_i8042();
	test_debug_exit();
	return tap_done();
}
