/* SPDX-License-Identifier: BSD-2-Clause */
/* The I/O APIC on a bus of real local APICs: registers, edge and level, remote IRR, delivery modes.
 */
// links: vm/dev/ioapic.c vm/dev/lapic.c vm/dev/lapic_bus.c vm/dev/lapic_regs.c vm/dev/lapic_timer.c
// links: vm/clock.c vm/timer.c
#include "vm/dev/ioapic.h"

#include "lib/errno.h"
#include "tests/unit/lapic_env.h"

#define LEVEL  0x8000U
#define MASKED 0x10000U
#define RIRR   0x4000U
#define DELIVS 0x1000U

static struct ioapic io;

static uint32_t reg(uint8_t index)
{
	ioapic_mmio_write(&io, 0, 4, index);
	return (uint32_t)ioapic_mmio_read(&io, 0x10, 4);
}

static void set_reg(uint8_t index, uint32_t val)
{
	ioapic_mmio_write(&io, 0, 4, index);
	ioapic_mmio_write(&io, 0x10, 4, val);
}

static uint32_t redir(unsigned pin)
{
	return reg((uint8_t)(0x10 + 2 * pin));
}

static void set_redir(unsigned pin, uint32_t low, uint8_t dest)
{
	set_reg((uint8_t)(0x11 + 2 * pin), (uint32_t)dest << 24);
	set_reg((uint8_t)(0x10 + 2 * pin), low);
}

static void irq(unsigned pin, bool level)
{
	ioapic_set_irq(&io, pin, level);
}

static void pulse(unsigned pin)
{
	irq(pin, true);
	irq(pin, false);
}

static void setup(unsigned cpus)
{
	env_setup(cpus);
	env_enable(cpus);
	ioapic_create(&io, &env_bus, IOAPIC_VERSION_82093AA);
	env_bus.eoi = ioapic_eoi;
	env_bus.eoi_ctx = &io;
}

static void test_registers(void)
{
	unsigned wrong = 0;

	setup(1);
	is_u64(reg(1), 0x00170011, "version 0x11, 24 entries");
	set_reg(1, 0xffffffff);
	is_u64(reg(1), 0x00170011, "read-only");
	set_reg(0, 0xffffffff);
	is_u64(reg(0), 0x0f000000, "ID has four bits");
	is_u64(reg(2), 0x0f000000, "arbitration ID follows it");
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		wrong += redir(pin) != MASKED || reg((uint8_t)(0x11 + 2 * pin)) != 0;
	is_u64(wrong, 0, "all entries masked");
	set_redir(7, 0xffffffff, 0xff);
	is_u64(redir(7), 0xffffffff & 0x1afff, "low half: reserved and read-only bits stay clear");
	is_u64(reg(0x11 + 14), 0xff000000, "high half: destination");
	set_reg(0x11 + 14, 0x12ffffff);
	is_u64(reg(0x11 + 14), 0x12000000, "high half: reserved bits stay clear");
	is_u64(redir(7), 0x1afff, "halves are written apart");
	is_u64(reg(0x40), 0, "an index beyond the entries reads 0");
	set_reg(0x04, 0x55000000);
	is_u64(reg(0), 0x0f000000, "a write beyond the registers changes none");
	set_reg(0x40, 0x12345678);
	set_reg(0x03, 0x12345678);
	is_u64(reg(0x03), 0, "no register there");
	ioapic_mmio_write(&io, 0, 4, 0xabcdef10);
	is_u64(ioapic_mmio_read(&io, 0, 4), 0x10, "the index has eight bits");
	ioapic_mmio_write(&io, 0x10, 2, 0x55);
	is_u64(redir(0), MASKED, "half of the data register cannot be written");
	is_u64(ioapic_mmio_read(&io, 0x20, 4), 0, "nothing between the windows");
	ioapic_ops.write(&io, 0, 4, 1);
	is_u64(ioapic_ops.read(&io, 0x10, 4), 0x00170011, "the same by the bus");
	irq(24, true);
	irq(12345, true);
	ok(take(0) < 0, "pins that do not exist are ignored");
	ioapic_reset(&io);
	is_u64(ioapic_mmio_read(&io, 0, 4), 0, "reset: index");
	is_u64(reg(0), 0, "reset: ID");
	is_u64(redir(7), MASKED, "reset masks");
}

static void test_edge(void)
{
	setup(1);
	set_redir(2, 0x30, 0);
	irq(2, true);
	is_u64((uint64_t)take(0), 0x30, "a rising edge");
	ok((redir(2) & (RIRR | DELIVS)) == 0, "leaves no status");
	irq(2, true);
	ok(lapic_highest_irr(&cpu[0].apic) < 0, "the same level again is no edge");
	irq(2, false);
	ok(lapic_highest_irr(&cpu[0].apic) < 0, "nor is a falling one");
	pulse(2);
	is_u64((uint64_t)lapic_highest_irr(&cpu[0].apic), 0x30, "the next is, in service or not");
	ok(rd(0, 0x190) == 0, "TMR says edge");
	wr(0, 0xb0, 0);
	take(0);
	wr(0, 0xb0, 0);
	set_redir(2, 0x30 | MASKED, 0);
	pulse(2);
	irq(2, true);
	set_redir(2, 0x30, 0);
	ok(take(0) < 0, "an edge at a masked input is lost");
	set_redir(3, 0x31, 5);
	pulse(3);
	ok(take(0) < 0 && (redir(3) & DELIVS) == 0, "an edge for nobody is lost");
	wr(0, 0xf0, 0xff);
	pulse(2);
	wr(0, 0xf0, 0x1ff);
	ok(take(0) < 0, "a software-disabled local APIC takes none");
}

static void test_level(void)
{
	setup(1);
	set_redir(9, 0x49 | LEVEL, 0);
	irq(9, true);
	ok(redir(9) & RIRR, "remote IRR is set on delivery");
	is_u64((uint64_t)take(0), 0x49, "delivered");
	ok(rd(0, 0x1a0) == 1U << 9, "TMR says level");
	irq(9, false);
	irq(9, true);
	ok(lapic_highest_irr(&cpu[0].apic) < 0, "not sent while remote IRR is set");
	wr(0, 0xb0, 0);
	is_u64((uint64_t)take(0), 0x49, "EOI finds it asserted: sent again");
	ok(redir(9) & RIRR, "remote IRR set again");
	irq(9, false);
	wr(0, 0xb0, 0);
	ok(take(0) < 0 && !(redir(9) & RIRR), "EOI with the line down ends it");
	set_redir(9, 0x49 | LEVEL | MASKED, 0);
	irq(9, true);
	ok(take(0) < 0, "masked");
	set_redir(9, 0x49 | LEVEL, 0);
	is_u64((uint64_t)take(0), 0x49, "a level is delivered on unmasking");
	set_redir(9, 0x49 | LEVEL | MASKED, 0);
	ok(redir(9) & RIRR, "masking keeps remote IRR");
	wr(0, 0xb0, 0);
	ok(take(0) < 0 && !(redir(9) & RIRR), "EOI of a masked one clears it and sends nothing");
	irq(9, false);
}

static void test_level_storm(void)
{
	unsigned taken = 0;

	setup(1);
	set_redir(11, 0x51 | LEVEL, 0);
	irq(11, true);
	for (unsigned i = 0; i < 1000; i++) {
		if (take(0) == 0x51)
			taken++;
		wr(0, 0xb0, 0);
	}
	is_u64(taken, 1000, "a line that stays up comes after each EOI");
	irq(11, false);
	take(0);
	wr(0, 0xb0, 0);
	ok(take(0) < 0, "and stops with it");
	/* Two shared vectors: each EOI ends both. */
	set_redir(11, 0x51 | LEVEL, 0);
	set_redir(12, 0x51 | LEVEL, 0);
	irq(11, true);
	irq(12, true);
	is_u64((uint64_t)take(0), 0x51, "two pins with one vector");
	irq(11, false);
	wr(0, 0xb0, 0);
	ok(!(redir(11) & RIRR) && (redir(12) & RIRR), "the one that is still up is sent again");
	is_u64((uint64_t)take(0), 0x51, "with its vector");
	irq(12, false);
	wr(0, 0xb0, 0);
	ok(take(0) < 0, "done");
}

/* Kernels get rid of a stuck remote IRR by a trip to edge and back. */
static void test_remote_irr_tricks(void)
{
	setup(1);
	set_redir(9, 0x49 | LEVEL, 0);
	irq(9, true);
	take(0);
	set_redir(9, 0x49 | MASKED, 0);
	ok(!(redir(9) & RIRR), "edge mode has no remote IRR");
	set_redir(9, 0x49 | LEVEL | MASKED, 0);
	ok(!(redir(9) & RIRR), "nor after going back");
	set_redir(9, 0x4a | LEVEL, 0);
	ok(redir(9) & RIRR, "unmasked it is sent anew");
	set_redir(9, 0x5b | LEVEL, 0);
	wr(0, 0xb0, 0);
	take(0);
	wr(0, 0xb0, 0);
	ok(redir(9) & RIRR, "an EOI of the vector it had before does not clear it");
	set_redir(9, 0x49 | RIRR | DELIVS | MASKED, 0);
	ok(!(redir(9) & (RIRR | DELIVS)), "status bits cannot be written");
	/* The version with an EOI register. */
	setup(1);
	ioapic_create(&io, &env_bus, IOAPIC_VERSION_EOI);
	is_u64(reg(1), 0x00170020, "version 0x20");
	set_redir(9, 0x49 | LEVEL, 0);
	irq(9, true);
	irq(9, false);
	ioapic_mmio_write(&io, 0x50, 4, 0x49);
	ok(redir(9) & RIRR, "EOI register: not beside it");
	ioapic_mmio_write(&io, 0x40, 4, 0x48);
	ok(redir(9) & RIRR, "EOI register: another vector");
	ioapic_mmio_write(&io, 0x40, 4, 0x49);
	ok(!(redir(9) & RIRR), "EOI register: its vector");
	setup(1);
	set_redir(9, 0x49 | LEVEL, 0);
	irq(9, true);
	ioapic_mmio_write(&io, 0x40, 4, 0x49);
	ok(redir(9) & RIRR, "version 0x11 has no such register");
}

static void test_not_taken(void)
{
	setup(1);
	wr(0, 0xf0, 0xff);
	set_redir(9, 0x49 | LEVEL, 0);
	irq(9, true);
	ok((redir(9) & (RIRR | DELIVS)) == DELIVS, "a level nobody takes is pending");
	wr(0, 0xf0, 0x1ff);
	ioapic_eoi(&io, 0x20);
	ok((redir(9) & (RIRR | DELIVS)) == RIRR, "and tried again with the next EOI");
	is_u64((uint64_t)take(0), 0x49, "delivered");
	setup(1);
	set_redir(9, 0x05 | LEVEL, 0);
	irq(9, true);
	ok(!(redir(9) & RIRR), "an illegal vector is not taken");
	wr(0, 0x280, 0);
	is_u64(rd(0, 0x280), 0x40, "and is an error at the receiver");
}

static void test_modes(void)
{
	setup(2);
	set_redir(4, 0x400 | LEVEL, 1);
	irq(4, true);
	ok(cpu[1].nmis == 1 && cpu[0].nmis == 0, "NMI");
	ok(!(redir(4) & RIRR), "is an edge even when programmed as level");
	irq(4, false);
	set_redir(4, 0x500, 1);
	pulse(4);
	is_u64(cpu[1].inits, 1, "INIT");
	set_redir(4, 0x600, 1);
	pulse(4);
	is_u64(cpu[1].sipis, 0, "start-up is reserved in an entry");
	set_redir(4, 0x200, 1);
	pulse(4);
	set_redir(4, 0x300, 1);
	pulse(4);
	ok(take(1) < 0, "SMI and the reserved mode do nothing");
	ok(!lapic_accepts_extint(&cpu[1].apic), "no ExtINT yet");
	set_redir(4, 0x700, 1);
	pulse(4);
	ok(lapic_accepts_extint(&cpu[1].apic) && !lapic_accepts_extint(&cpu[0].apic), "ExtINT");
	lapic_extint_taken(&cpu[1].apic);
	ok(!lapic_accepts_extint(&cpu[1].apic), "once");
	wr(0, 0xd0, 0x01000000);
	wr(1, 0xd0, 0x02000000);
	set_redir(4, 0x0840, 0x03);
	pulse(4);
	ok(take(0) == 0x40 && take(1) == 0x40, "fixed, logical, both");
	wr(0, 0x80, 0x10);
	set_redir(4, 0x0961, 0x03);
	pulse(4);
	ok(take(0) < 0 && take(1) == 0x61, "lowest priority goes to one");
	wr(0, 0xb0, 0);
	wr(1, 0xb0, 0);
	set_redir(4, 0x0062, 0xff);
	pulse(4);
	ok(take(0) == 0x62 && take(1) == 0x62, "broadcast");
	wr(0, 0xb0, 0);
	set_redir(4, 0x2063, 0);
	pulse(4);
	ok(take(0) == 0x63, "polarity changes nothing");
}

static void test_eoi_elsewhere(void)
{
	setup(2);
	set_redir(9, 0x49 | LEVEL, 1);
	irq(9, true);
	is_u64((uint64_t)take(1), 0x49, "taken by CPU 1");
	set_redir(8, 0x49, 0);
	pulse(8);
	take(0);
	wr(0, 0xb0, 0);
	ok(redir(9) & RIRR, "the EOI of an edge of the same vector is not broadcast");
	wr(1, 0xb0, 0);
	ok(redir(9) & RIRR && take(1) == 0x49, "that of the level is");
}

static void test_snapshot(void)
{
	struct ioapic_state a, b;

	setup(1);
	set_redir(9, 0x49 | LEVEL, 0);
	irq(9, true);
	ioapic_save(&io, &a);
	ioapic_create(&io, &env_bus, IOAPIC_VERSION_82093AA);
	ok(ioapic_load(&io, &a) == 0 && (redir(9) & RIRR), "load");
	ioapic_mmio_write(&io, 0, 4, a.select);
	ioapic_save(&io, &b);
	ok(memcmp(&a, &b, sizeof(a)) == 0, "gives the same state");
	b.version++;
	ok(ioapic_load(&io, &b) == -EINVAL, "a version it does not know");
	b = a;
	b.redir[3] = RIRR;
	ok(ioapic_load(&io, &b) == -EINVAL, "remote IRR of an edge");
	b = a;
	b.redir[3] = 1ULL << 40;
	ok(ioapic_load(&io, &b) == -EINVAL, "reserved bits");
	b = a;
	b.lines = 1U << 24;
	ok(ioapic_load(&io, &b) == -EINVAL, "a line it does not have");
	b = a;
	b.select = 256;
	ok(ioapic_load(&io, &b) == -EINVAL, "an index that is none");
	ioapic_save(&io, &b);
	ok(memcmp(&a, &b, sizeof(a)) == 0, "a refused load changes nothing");
}

/* Whatever happens: no level that is up, unmasked and willing is left behind without remote IRR. */
static bool invariants_hold(void)
{
	struct ioapic_state s;

	ioapic_save(&io, &s);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t e = s.redir[pin];
		unsigned mode = (unsigned)(e >> 8) & 7;
		bool level = (e & LEVEL) && mode <= 1;
		bool valid =
			(e & 0xff) >= 16 && (e >> 56 == 0 || e >> 56 == 0xff) && !(e & (1 << 11));

		if ((e & RIRR) && !level)
			return false;
		if (level && valid && (s.lines >> pin & 1) && !(e & MASKED) && !(e & RIRR))
			return false;
	}
	return ioapic_load(&io, &s) == 0;
}

static void test_fuzz(void)
{
	unsigned broken = 0, taken = 0;

	srand(82093);
	setup(1);
	for (unsigned i = 0; i < 100000; i++) {
		unsigned pin = (unsigned)rand() % IOAPIC_PINS;

		switch (rand() % 5) {
		case 0:
		case 1:
			irq(pin, rand() % 2);
			break;
		case 2:
			set_redir(pin, (uint32_t)rand() & 0x1afff & ~(rand() % 2 ? MASKED : 0U),
				  rand() % 4 ? 0 : (uint8_t)rand());
			break;
		case 3:
			taken += take(0) >= 0;
			break;
		default:
			wr(0, 0xb0, 0);
			break;
		}
		broken += !invariants_hold();
	}
	is_u64(broken, 0, "random operations: levels are neither lost nor stuck");
	ok(taken > 1000, "and interrupts were taken (%u)", taken);
}

int main(void)
{
	test_registers();
	test_edge();
	test_level();
	test_level_storm();
	test_remote_irr_tricks();
	test_not_taken();
	test_modes();
	test_eoi_elsewhere();
	test_snapshot();
	test_fuzz();
	return tap_done();
}
