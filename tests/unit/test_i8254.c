/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interval timer, driven as kernels drive it, and compared with a reference that really counts,
 * one tick after the other.
 */
// links: vm/dev/i8254.c vm/clock.c vm/timer.c
#include "vm/dev/i8254.h"

#include <stdlib.h>

#include "tests/host/devrig.h"
#include "tests/tap.h"

#define NS_PER_SEC 1000000000ULL

static struct i8254 pit;
static struct rig_line irq0;
static uint64_t tick; /* where the clock is, in ticks */

static void out8(unsigned port, uint8_t val)
{
	if (port == 0x61)
		port61_ops.write(&pit, 0, 1, val);
	else
		i8254_ops.write(&pit, port - 0x40, 1, val);
}

static uint8_t in8(unsigned port)
{
	if (port == 0x61)
		return (uint8_t)port61_ops.read(&pit, 0, 1);
	return (uint8_t)i8254_ops.read(&pit, port - 0x40, 1);
}

static uint64_t ns_of_tick(uint64_t t)
{
	return (uint64_t)(((__uint128_t)t * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ);
}

static void to_tick(uint64_t t)
{
	rig_advance(ns_of_tick(t) - ns_of_tick(tick));
	tick = t;
}

static void setup(void)
{
	struct irq_line line = rig_line(&irq0);

	rig_reset();
	tick = 0;
	i8254_init(&pit, &rig_clock, &line);
	i8254_reset(&pit);
	irq0 = (struct rig_line){.level = irq0.level};
}

static void load16(unsigned channel, unsigned mode, uint16_t count)
{
	out8(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	out8(0x40 + channel, (uint8_t)count);
	out8(0x40 + channel, (uint8_t)(count >> 8));
}

static unsigned latch16(unsigned channel)
{
	unsigned lo;

	out8(0x43, (uint8_t)(channel << 6));
	lo = in8(0x40 + channel);
	return lo | (unsigned)in8(0x40 + channel) << 8;
}

/* ---- the reference ---- */

struct reference {
	unsigned mode;
	bool bcd, gate, out;
	bool loading; /* the next clock moves the count register into the counter */
	bool loaded;  /* since the control word */
	bool active;  /* modes 1, 5: triggered */
	bool strobe;  /* modes 4, 5: the count has not run out yet */
	uint32_t cr, loaded_cr;
	int64_t ce;
	unsigned rises;
};

static void ref_set_out(struct reference *r, bool out)
{
	r->rises += out && !r->out;
	r->out = out;
}

static void ref_control(struct reference *r, unsigned mode, bool bcd)
{
	r->mode = mode;
	r->bcd = bcd;
	r->loading = r->loaded = r->active = r->strobe = false;
	r->cr = 0;
	ref_set_out(r, mode != 0);
}

static void ref_count(struct reference *r, uint32_t count)
{
	r->cr = count;
	if (r->mode == 0)
		ref_set_out(r, false);
	if (r->mode == 0 || r->mode == 4 || ((r->mode == 2 || r->mode == 3) && !r->loaded))
		r->loading = true;
}

static void ref_gate(struct reference *r, bool gate)
{
	if (gate && !r->gate && r->cr != 0) {
		if (r->mode == 1 || r->mode == 5)
			r->loading = r->active = true;
		else if (r->mode == 2 || r->mode == 3)
			r->loading = true;
	}
	if (!gate && (r->mode == 2 || r->mode == 3))
		ref_set_out(r, true);
	r->gate = gate;
}

static void ref_load(struct reference *r)
{
	r->loaded_cr = r->cr;
	/* Mode 3 counts an even number down by two; the odd one is a clock more in the high half.
	 */
	r->ce = r->mode == 3 ? (int64_t)(r->cr & ~1u) : (int64_t)r->cr;
	r->loading = false;
	r->loaded = true;
	r->strobe = true;
}

static void ref_clock_square(struct reference *r)
{
	bool odd = r->loaded_cr & 1;

	if (r->ce > 2 || (r->ce == 2 && odd && r->out)) {
		r->ce -= 2;
		return;
	}
	ref_load(r);
	ref_set_out(r, !r->out);
}

static void ref_clock(struct reference *r)
{
	int64_t wrap = r->bcd ? 10000 : 65536;
	bool counts = r->loaded && (r->mode == 1 || r->mode == 5 ? r->active : r->gate);

	if ((r->mode == 4 || r->mode == 5) && !r->out)
		ref_set_out(r, true);
	if (r->loading) {
		ref_load(r);
		ref_set_out(r, r->mode == 0 || r->mode == 1 ? false : true);
		return;
	}
	if (!counts)
		return;
	if (r->mode == 3) {
		ref_clock_square(r);
		return;
	}
	if (r->mode == 2) {
		if (--r->ce == 0)
			ref_load(r);
		ref_set_out(r, r->ce != 1);
		return;
	}
	r->ce = r->ce == 0 ? wrap - 1 : r->ce - 1;
	if (r->ce % wrap != 0 || !r->strobe)
		return;
	r->strobe = false;
	ref_set_out(r, r->mode == 0 || r->mode == 1);
}

static unsigned ref_read(const struct reference *r)
{
	unsigned v = (unsigned)(r->ce % (r->bcd ? 10000 : 65536));

	return r->bcd ? v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10 : v;
}

static uint16_t ref_raw(uint32_t count, bool bcd)
{
	struct reference r = {.bcd = bcd, .ce = count};

	return (uint16_t)ref_read(&r);
}

/* ---- random operation against the reference ---- */

struct mismatches {
	unsigned out, count, status, irq, checks;
};

static uint32_t random_count(bool bcd, unsigned channel)
{
	uint32_t limit = bcd ? 10000 : 65536;

	switch (rand() % 4) {
	case 0: /* channel 0: not so short that edges are merged */
		return (channel == 0 ? 60 : 2) + (uint32_t)rand() % 30;
	case 1:
		return limit;
	default:
		return 60 + (uint32_t)rand() % 400;
	}
}

static void random_step(struct reference *r, unsigned channel)
{
	static const uint8_t modes[2][6] = {{0, 2, 3, 4, 2, 3}, {0, 1, 2, 3, 4, 5}};
	uint32_t count;
	unsigned mode;
	bool bcd;

	switch (rand() % 8) {
	case 0:
		mode = modes[channel == 2][rand() % 6];
		bcd = rand() % 4 == 0;
		out8(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1 | bcd));
		ref_control(r, mode, bcd);
		/* a count usually follows */
		__attribute__((fallthrough));
	case 1:
	case 2:
		count = random_count(r->bcd, channel);
		out8(0x40 + channel, (uint8_t)ref_raw(count, r->bcd));
		out8(0x40 + channel, (uint8_t)(ref_raw(count, r->bcd) >> 8));
		ref_count(r, count);
		break;
	case 3:
	case 4:
		if (channel == 2) {
			bool gate = rand() % 2;

			out8(0x61, gate);
			ref_gate(r, gate);
		}
		break;
	default:
		break;
	}
}

static void compare(const struct reference *r, unsigned channel, struct mismatches *m)
{
	unsigned status;
	bool null = !r->loaded || r->loading || r->cr != r->loaded_cr;

	out8(0x43, (uint8_t)(0xe0 | 2u << channel)); /* read back: status only */
	status = in8(0x40 + channel);
	m->checks++;
	m->out += (status >> 7) != r->out;
	if (channel == 2)
		m->out += (in8(0x61) >> 5 & 1) != r->out;
	/* A count that is written again with the same value is pending and looks loaded here. */
	m->status += (status & 0x3f) != (0x30 | r->mode << 1 | r->bcd);
	m->status += null && !(status & 0x40);
	if (r->loaded && !r->loading)
		m->count += latch16(channel) != ref_read(r);
	if (channel == 0)
		m->irq += irq0.rises != r->rises;
}

static void test_random(unsigned channel)
{
	struct mismatches m = {0};

	srand(1 + channel);
	for (unsigned round = 0; round < 60; round++) {
		struct reference r = {.gate = channel != 2, .out = true, .mode = 3};

		setup();
		for (unsigned step = 0; step < 60; step++) {
			unsigned n = (unsigned)rand() % (rand() % 8 == 0 ? 70000 : 300);

			random_step(&r, channel);
			for (unsigned i = 0; i < n; i++)
				ref_clock(&r);
			to_tick(tick + n);
			compare(&r, channel, &m);
		}
	}
	ok(m.out == 0, "channel %u: output as the reference, %u of %u wrong", channel, m.out,
	   m.checks);
	ok(m.count == 0, "channel %u: count as the reference, %u of %u wrong", channel, m.count,
	   m.checks);
	ok(m.status == 0, "channel %u: status as the reference, %u wrong", channel, m.status);
	ok(m.irq == 0, "channel %u: as many rising edges, %u of %u wrong", channel, m.irq,
	   m.checks);
}

/* ---- as kernels use it ---- */

/* A clock event device: periodic at 250 Hz, then one shots. */
static void test_clockevent(void)
{
	setup();
	load16(0, 2, 4773);
	rig_advance(10 * NS_PER_SEC);
	is_u64(irq0.rises, (10 * I8254_HZ - 1) / 4773,
	       "periodic: exactly as many ticks as 10 s hold");
	is_u64(rig_timers_run, irq0.rises, "and one timer for each");

	setup();
	for (unsigned i = 0; i < 50; i++) {
		load16(0, 4, 1193);
		rig_advance(ns_of_tick(1193 + 1));
		ok(irq0.rises == i, "one-shot %u: not a tick early", i);
		rig_advance(ns_of_tick(2) + 1);
		ok(irq0.rises == i + 1, "one-shot %u: there", i);
		rig_advance(5 * NS_PER_SEC);
		ok(irq0.rises == i + 1, "one-shot %u: only once", i);
	}

	setup();
	load16(0, 2, 1000);
	rig_advance(NS_PER_SEC / 100);
	out8(0x43, 0x30); /* shut down: mode 0, no further interrupt */
	ok(rig_next_timer() == UINT64_MAX && !irq0.level, "shut down: no timer, line low");
	out8(0x40, 0);
	out8(0x40, 0);
	rig_advance(NS_PER_SEC);
	ok(rig_next_timer() == UINT64_MAX, "at most one expiry remains");
}

/* The speaker channel as a stop watch: gate up, count in mode 0, wait for OUT2. */
static void test_calibration(void)
{
	uint64_t waited = 0;
	unsigned latch = 59659; /* 50 ms */

	setup();
	out8(0x61, (uint8_t)((in8(0x61) & ~0x02u) | 0x01));
	out8(0x43, 0xb0);
	out8(0x42, (uint8_t)latch);
	out8(0x42, (uint8_t)(latch >> 8));
	while (!(in8(0x61) & 0x20) && waited < NS_PER_SEC) {
		rig_advance(1000);
		waited += 1000;
	}
	ok(waited >= 50000000 && waited < 50003000, "50 ms by OUT2 took %u ns", (unsigned)waited);

	/* Reading the high byte until it changes, two bytes at a time, unlatched. */
	setup();
	out8(0x61, 0x01);
	out8(0x43, 0xb0);
	out8(0x42, 0xff);
	out8(0x42, 0xff);
	rig_advance(1000);
	for (unsigned expect = 0xff, changes = 0; changes < 5; changes++, expect--) {
		uint64_t spent = 0;

		for (;;) {
			in8(0x42);
			if (in8(0x42) != expect)
				break;
			rig_advance(1000);
			spent += 1000;
		}
		ok(spent > 210000 && spent < 216000, "256 ticks pass in %u ns", (unsigned)spent);
	}
}

static void test_reading(void)
{
	unsigned lo;

	setup();
	load16(0, 2, 0x1234);
	to_tick(1);
	is_u64(latch16(0), 0x1234, "latched at once");
	out8(0x43, 0x00);
	to_tick(0x30);
	out8(0x43, 0x00);
	lo = in8(0x40);
	is_u64(lo | (unsigned)in8(0x40) << 8, 0x1234, "a second latch does not disturb the first");
	is_u64(in8(0x40), 0x05, "then the counter itself, low byte");
	is_u64(in8(0x40), 0x12, "and high byte");

	out8(0x43, 0xc2); /* read back count and status of channel 0 */
	is_u64(in8(0x40), 0xb4, "status first: out, loaded, both bytes, mode 2");
	is_u64(in8(0x40), 0x05, "then the count, low");
	is_u64(in8(0x40), 0x12, "high");

	out8(0x43, 0xf4); /* neither */
	is_u64(in8(0x40), 0x05, "read-back of nothing latches nothing");
	in8(0x40);
	is_u64(in8(0x43), 0xff, "the control word cannot be read");

	out8(0x43, 0x14); /* low byte only, mode 2 */
	out8(0x40, 100);
	to_tick(tick + 11);
	is_u64(in8(0x40), 90, "low-byte access");
	is_u64(in8(0x40), 90, "again the low byte");
	out8(0x43, 0x24); /* high byte only */
	out8(0x40, 2);
	to_tick(tick + 1);
	is_u64(in8(0x40), 2, "high-byte access: 0x200");

	out8(0x43, 0x31); /* BCD, mode 0 */
	out8(0x40, 0x00);
	out8(0x40, 0x10);
	to_tick(tick + 2);
	is_u64(latch16(0), 0x0999, "BCD: after 1000 comes 999");
	to_tick(tick + 1000);
	is_u64(latch16(0), 0x9999, "BCD wraps to 9999");
}

static void test_port61(void)
{
	unsigned toggles = 0;
	uint8_t last;

	setup();
	last = in8(0x61) & 0x10;
	for (unsigned i = 0; i < 1000; i++) {
		rig_advance(1000);
		toggles += (in8(0x61) & 0x10) != last;
		last = in8(0x61) & 0x10;
	}
	ok(toggles >= 65 && toggles <= 67, "refresh bit: %u toggles in 1 ms", toggles);
	out8(0x61, 0xff);
	is_u64(in8(0x61) & 0xcf, 0x0f, "bits 0-3 are kept, 6 and 7 read zero");
}

static void test_hostile(void)
{
	unsigned rises;

	setup();
	load16(0, 2, 2); /* 600 kHz */
	rig_advance(NS_PER_SEC / 100);
	ok(rig_timers_run <= 200, "600 kHz costs 20 kHz of timers: %u in 10 ms", rig_timers_run);
	ok(irq0.rises >= 150, "but they come: %u", irq0.rises);
	load16(0, 2, 1);
	rises = irq0.rises;
	rig_advance(NS_PER_SEC / 100);
	ok(irq0.rises <= rises + 1, "count 1 in mode 2 does not interrupt");

	setup();
	load16(0, 2, 11932); /* 10 ms */
	rig_skip(NS_PER_SEC);
	rig_advance(0);
	is_u64(irq0.rises, 1, "a late pCPU: 100 ticks merge into one");
	rig_advance(NS_PER_SEC / 100);
	is_u64(irq0.rises, 2, "and the next comes in time");
}

static void test_pause(void)
{
	unsigned count;

	setup();
	load16(0, 2, 11932);
	rig_advance(25000000);
	is_u64(irq0.rises, 2, "two ticks in 25 ms");
	count = latch16(0);
	vclock_stop(&rig_clock);
	i8254_pause(&pit);
	rig_advance(NS_PER_SEC);
	ok(irq0.rises == 2 && rig_next_timer() == UINT64_MAX, "none while the VM stands");
	ok(latch16(0) == count, "and nothing counts");
	vclock_start(&rig_clock);
	i8254_resume(&pit);
	rig_advance(4000000);
	is_u64(irq0.rises, 2, "after it goes on, what was left of the period passes first");
	rig_advance(2000000);
	is_u64(irq0.rises, 3, "then the tick comes");
	i8254_reset(&pit);
	rig_advance(NS_PER_SEC);
	ok(irq0.rises == 3 && rig_next_timer() == UINT64_MAX, "reset stops it");
}

int main(void)
{
	test_clockevent();
	test_calibration();
	test_reading();
	test_port61();
	test_hostile();
	test_pause();
	for (unsigned channel = 0; channel < I8254_CHANNELS; channel++)
		test_random(channel);
	return tap_done();
}
