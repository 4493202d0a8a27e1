/* SPDX-License-Identifier: BSD-2-Clause */
/* The pair of 8259A: every command word, priorities, cascade, spurious vectors, ELCR, poll,
 * snapshots. */
// links: vm/dev/i8259.c
#include "vm/dev/i8259.h"

#include <stdlib.h>

#include "lib/errno.h"
#include "tests/tap.h"

#define M_CMD  0x20
#define M_DATA 0x21
#define S_CMD  0xa0
#define S_DATA 0xa1

static struct i8259 pic;
static bool intr;
static unsigned rises;

static void intr_set(void *ctx, unsigned pin, bool level)
{
	(void)ctx;
	(void)pin;
	rises += level && !intr;
	intr = level;
}

static void setup_icw4(uint8_t icw4)
{
	const struct irq_line out = {intr_set, NULL, 0};

	intr = false;
	rises = 0;
	i8259_init(&pic, &out);
	i8259_write(&pic, M_CMD, 0x11);
	i8259_write(&pic, M_DATA, 0x30);
	i8259_write(&pic, M_DATA, 0x04);
	i8259_write(&pic, M_DATA, icw4);
	i8259_write(&pic, S_CMD, 0x11);
	i8259_write(&pic, S_DATA, 0x38);
	i8259_write(&pic, S_DATA, 0x02);
	i8259_write(&pic, S_DATA, icw4);
}

static void setup(void)
{
	setup_icw4(0x01);
}

static void irq(unsigned pin, bool level)
{
	i8259_set_irq(&pic, pin, level);
}

static void pulse(unsigned pin)
{
	irq(pin, true);
	irq(pin, false);
}

static uint8_t isr(uint16_t port)
{
	i8259_write(&pic, port, 0x0b);
	return i8259_read(&pic, port);
}

static uint8_t irr(uint16_t port)
{
	i8259_write(&pic, port, 0x0a);
	return i8259_read(&pic, port);
}

static void test_power_on(void)
{
	const struct irq_line out = {intr_set, NULL, 0}, nowhere = {0};

	i8259_init(&pic, &out);
	irq(0, true);
	ok(!i8259_intr(&pic) && !intr, "nothing is requested before initialisation");
	is_u64(i8259_read(&pic, M_DATA), 0xff, "all masked at power-on");
	i8259_write(&pic, M_DATA, 0);
	ok(!i8259_intr(&pic), "clearing the mask does not initialise");
	is_u64(i8259_read(&pic, 0x22), 0xff, "a port that is none of its own reads ones");
	i8259_write(&pic, 0x22, 0x11);
	i8259_init(&pic, &nowhere);
	i8259_write(&pic, M_CMD, 0x13);
	i8259_write(&pic, M_DATA, 0x08);
	i8259_write(&pic, M_DATA, 0x01);
	pulse(1);
	is_u64((uint64_t)i8259_ack(&pic), 9, "works with its output unconnected");
}

/* What Linux does to find out whether there is one: mask all but the cascade, read it back. */
static void test_probe(void)
{
	setup();
	i8259_write(&pic, S_DATA, 0xff);
	i8259_write(&pic, M_DATA, 0xfb);
	is_u64(i8259_read(&pic, M_DATA), 0xfb, "master mask reads back");
	is_u64(i8259_read(&pic, S_DATA), 0xff, "slave mask reads back");
}

static void test_init_sequence(void)
{
	setup();
	pulse(3);
	is_u64((uint64_t)i8259_ack(&pic), 0x33, "vector is ICW2 plus the input");
	i8259_write(&pic, M_DATA, 0x55);
	i8259_write(&pic, M_CMD, 0x11);
	is_u64(isr(M_CMD), 0, "ICW1 clears ISR");
	pulse(4);
	ok(!intr, "no interrupt while initialisation goes on");
	i8259_write(&pic, M_DATA, 0x47); /* low bits are not ICW2's in 8086 mode */
	i8259_write(&pic, M_DATA, 0x04);
	i8259_write(&pic, M_DATA, 0x01);
	is_u64(i8259_read(&pic, M_DATA), 0, "ICW1 clears the mask");
	is_u64((uint64_t)i8259_ack(&pic), 0x44, "the edge that came meanwhile is delivered");
	/* No ICW4 announced: the next data write is a mask. */
	i8259_write(&pic, M_CMD, 0x10);
	i8259_write(&pic, M_DATA, 0x30);
	i8259_write(&pic, M_DATA, 0x04);
	i8259_write(&pic, M_DATA, 0xa5);
	is_u64(i8259_read(&pic, M_DATA), 0xa5, "without ICW4 initialisation has three words");
	/* Single: neither ICW3 nor a slave. */
	setup();
	i8259_write(&pic, M_CMD, 0x13);
	i8259_write(&pic, M_DATA, 0x30);
	i8259_write(&pic, M_DATA, 0x01);
	pulse(9);
	ok(!intr, "a single master does not hear the slave");
	/* An input that is up during ICW1 must fall and rise. */
	setup();
	irq(5, true);
	setup_icw4(1); /* clears lines: begin anew with the line up */
	irq(5, true);
	i8259_ack(&pic);
	i8259_write(&pic, M_CMD, 0x11);
	i8259_write(&pic, M_DATA, 0x30);
	i8259_write(&pic, M_DATA, 0x04);
	i8259_write(&pic, M_DATA, 0x01);
	irq(5, true);
	ok(!intr, "the edge detector is reset: a level that was up is no edge");
	irq(5, false);
	irq(5, true);
	ok(intr, "a new edge is");
}

static void test_priority(void)
{
	setup();
	pulse(4);
	pulse(3);
	is_u64(irr(M_CMD), 0x18, "IRR shows both");
	is_u64((uint64_t)i8259_ack(&pic), 0x33, "the lower number first");
	is_u64(isr(M_CMD), 0x08, "ISR shows it");
	is_u64(irr(M_CMD), 0x10, "IRR shows the other");
	ok(!intr, "a lower priority does not interrupt it");
	pulse(1);
	ok(intr, "a higher one does");
	is_u64((uint64_t)i8259_ack(&pic), 0x31, "nested");
	pulse(1);
	ok(!intr, "an equal one does not");
	i8259_write(&pic, M_CMD, 0x20);
	is_u64(isr(M_CMD), 0x08, "EOI ends the highest");
	is_u64((uint64_t)i8259_ack(&pic), 0x31, "the second edge of 1 was kept");
	i8259_write(&pic, M_CMD, 0x61);
	i8259_write(&pic, M_CMD, 0x63);
	is_u64(isr(M_CMD), 0, "specific EOI ends the named ones");
	is_u64((uint64_t)i8259_ack(&pic), 0x34, "then the lowest");
	i8259_write(&pic, M_CMD, 0x63);
	is_u64(isr(M_CMD), 0x10, "a specific EOI of another changes nothing");
	i8259_write(&pic, M_CMD, 0x20);
	i8259_write(&pic, M_CMD, 0x20);
	is_u64(isr(M_CMD), 0, "an EOI too many does nothing");
}

static void test_mask(void)
{
	setup();
	i8259_write(&pic, M_DATA, 0x02);
	pulse(1);
	ok(!intr, "masked");
	is_u64(irr(M_CMD), 0x02, "the edge is kept while masked");
	i8259_write(&pic, M_DATA, 0);
	ok(intr, "and delivered after");
	irq(2, true);
	is_u64(irr(M_CMD), 0x02, "input 2 of the master is no input");
	irq(16, true);
	irq(1000, true);
	ok(intr, "pins that do not exist are ignored");
}

static void test_cascade(void)
{
	setup();
	pulse(12);
	ok(intr, "slave raises INTR");
	is_u64(irr(M_CMD), 0x04, "by the master's input 2");
	is_u64((uint64_t)i8259_ack(&pic), 0x3c, "slave vector");
	is_u64(isr(M_CMD), 0x04, "2 in service at the master");
	is_u64(isr(S_CMD), 0x10, "4 at the slave");
	pulse(8);
	ok(!intr, "not fully nested: the busy cascade blocks a higher slave input");
	i8259_write(&pic, M_CMD, 0x62);
	is_u64((uint64_t)i8259_ack(&pic), 0x38, "after the master's EOI it comes");
	i8259_write(&pic, S_CMD, 0x20);
	i8259_write(&pic, S_CMD, 0x20);
	is_u64(isr(S_CMD), 0, "slave EOIs");
	setup_icw4(0x11);
	pulse(12);
	i8259_ack(&pic);
	pulse(8);
	ok(intr, "special fully nested mode lets it through");
	is_u64((uint64_t)i8259_ack(&pic), 0x38, "with its vector");
	setup();
	i8259_write(&pic, M_DATA, 0x04);
	pulse(15);
	ok(!intr, "masking the cascade masks the slave");
	i8259_write(&pic, M_DATA, 0);
	pulse(1);
	is_u64((uint64_t)i8259_ack(&pic), 0x31, "1 before the slave");
	i8259_write(&pic, M_CMD, 0x20);
	pulse(3);
	is_u64((uint64_t)i8259_ack(&pic), 0x3f, "the slave before 3");
}

static void test_spurious(void)
{
	setup();
	is_u64((uint64_t)i8259_ack(&pic), 0x37, "an acknowledge without request is input 7");
	is_u64(isr(M_CMD), 0, "with nothing in service");
	i8259_write(&pic, 0x4d0, 0x20);
	irq(5, true);
	ok(intr, "a level requests");
	irq(5, false);
	ok(!intr, "and withdraws");
	is_u64((uint64_t)i8259_ack(&pic), 0x37, "too late: spurious 7");
	is_u64(isr(M_CMD), 0, "still nothing in service");
	i8259_write(&pic, 0x4d1, 0x08);
	irq(11, true);
	irq(11, false);
	is_u64((uint64_t)i8259_ack(&pic), 0x3f, "the slave's is 15");
	is_u64(isr(S_CMD), 0, "with nothing in service at the slave");
	is_u64(isr(M_CMD), 0x04, "but 2 at the master");
}

/* ICW1 brings back the default mode, whatever was on. */
static void test_reinit(void)
{
	setup();
	i8259_write(&pic, M_CMD, 0xc3);
	i8259_write(&pic, M_CMD, 0x0c);
	i8259_write(&pic, M_CMD, 0x11);
	i8259_write(&pic, M_DATA, 0x30);
	i8259_write(&pic, M_DATA, 0x04);
	i8259_write(&pic, M_DATA, 0x01);
	pulse(3);
	pulse(4);
	is_u64(i8259_read(&pic, M_CMD), 0x18, "ICW1 forgets a poll command");
	is_u64((uint64_t)i8259_ack(&pic), 0x33, "and a rotation");
	i8259_write(&pic, 0x4d1, 0x08);
	setup();
	pulse(11);
	i8259_ack(&pic);
	i8259_write(&pic, M_CMD, 0x20);
	is_u64((uint64_t)i8259_ack(&pic), 0x37, "spurious after an answered slave is the master's");
}

static void test_elcr(void)
{
	setup();
	i8259_write(&pic, 0x4d0, 0xff);
	i8259_write(&pic, 0x4d1, 0xff);
	is_u64(i8259_read(&pic, 0x4d0), 0xf8, "0, 1 and 2 stay edge-triggered");
	is_u64(i8259_read(&pic, 0x4d1), 0xde, "8 and 13 as well");
	irq(9, true);
	is_u64((uint64_t)i8259_ack(&pic), 0x39, "level");
	i8259_write(&pic, S_CMD, 0x20);
	i8259_write(&pic, M_CMD, 0x20);
	ok(intr, "a level still up requests again after EOI");
	is_u64((uint64_t)i8259_ack(&pic), 0x39, "and is delivered again");
	irq(9, false);
	i8259_write(&pic, S_CMD, 0x20);
	i8259_write(&pic, M_CMD, 0x20);
	ok(!intr, "until it falls");
	irq(1, true);
	i8259_ack(&pic);
	i8259_write(&pic, M_CMD, 0x20);
	ok(!intr, "an edge is delivered once though the line stays up");
	setup();
	pulse(5);
	i8259_write(&pic, 0x4d0, 0x20);
	ok(!intr, "an edge is forgotten when its input becomes a level");
}

static void test_rotation(void)
{
	setup();
	pulse(0);
	pulse(1);
	i8259_ack(&pic);
	i8259_write(&pic, M_CMD, 0xa0);
	pulse(0);
	is_u64((uint64_t)i8259_ack(&pic), 0x31, "rotate on EOI: 0 is the lowest now");
	i8259_write(&pic, M_CMD, 0x20);
	is_u64((uint64_t)i8259_ack(&pic), 0x30, "then 0");
	i8259_write(&pic, M_CMD, 0xe0);
	is_u64(isr(M_CMD), 0, "rotate on specific EOI ends it");
	i8259_write(&pic, M_CMD, 0xc4);
	pulse(4);
	pulse(5);
	is_u64((uint64_t)i8259_ack(&pic), 0x35, "set priority: 4 is the lowest, 5 the highest");
	i8259_write(&pic, M_CMD, 0x40);
	is_u64(isr(M_CMD), 0x20, "the no-operation word does none");
	i8259_write(&pic, M_CMD, 0xe5);
	is_u64((uint64_t)i8259_ack(&pic), 0x34, "and the other");
	i8259_write(&pic, M_CMD, 0x20);
	pulse(6);
	pulse(5);
	is_u64((uint64_t)i8259_ack(&pic), 0x36, "rotate on specific EOI made 5 the lowest");
}

static void test_aeoi(void)
{
	setup_icw4(0x03);
	pulse(3);
	pulse(3);
	is_u64((uint64_t)i8259_ack(&pic), 0x33, "AEOI");
	is_u64(isr(M_CMD), 0, "nothing stays in service");
	ok(!intr, "two edges before the acknowledge are one request");
	pulse(3);
	ok(intr, "a lower priority needs no EOI");
	i8259_ack(&pic);
	i8259_write(&pic, M_CMD, 0x80);
	pulse(0);
	i8259_ack(&pic);
	pulse(0);
	pulse(1);
	is_u64((uint64_t)i8259_ack(&pic), 0x31, "rotation in AEOI mode");
	is_u64((uint64_t)i8259_ack(&pic), 0x30, "the other after it");
	i8259_write(&pic, M_CMD, 0x00);
	pulse(3);
	i8259_ack(&pic);
	pulse(4);
	pulse(3);
	is_u64((uint64_t)i8259_ack(&pic), 0x33, "off: 3 was not made the lowest");
}

static void test_special_mask(void)
{
	setup();
	pulse(1);
	i8259_ack(&pic);
	pulse(6);
	ok(!intr, "6 waits for 1");
	i8259_write(&pic, M_DATA, 0x02);
	ok(!intr, "masking 1 does not help");
	i8259_write(&pic, M_CMD, 0x68);
	ok(intr, "in special mask mode it does");
	is_u64((uint64_t)i8259_ack(&pic), 0x36, "6 comes");
	i8259_write(&pic, M_CMD, 0x20);
	is_u64(isr(M_CMD), 0x02, "EOI ends 6, not the masked 1");
	i8259_write(&pic, M_CMD, 0x20);
	is_u64(isr(M_CMD), 0x02, "a masked one needs a specific EOI");
	pulse(6);
	ok(intr, "6 again");
	i8259_write(&pic, M_CMD, 0x08);
	ok(intr, "SMM without ESMM changes nothing");
	i8259_write(&pic, M_CMD, 0x48);
	ok(!intr, "mode off: 1 blocks again");
}

static void test_poll(void)
{
	setup();
	i8259_write(&pic, M_CMD, 0x0c);
	is_u64(i8259_read(&pic, M_CMD), 0, "poll without request");
	is_u64(i8259_read(&pic, M_DATA), 0, "one read only: then the mask");
	pulse(5);
	i8259_write(&pic, M_CMD, 0x0c);
	is_u64(i8259_read(&pic, M_CMD), 0x85, "poll acknowledges");
	is_u64(isr(M_CMD), 0x20, "in service");
	ok(!intr, "INTR fell");
	i8259_write(&pic, M_CMD, 0x20);
	pulse(10);
	i8259_write(&pic, M_CMD, 0x0c);
	is_u64(i8259_read(&pic, M_DATA), 0x82, "the master names the cascade");
	is_u64(isr(S_CMD), 0, "the slave is not acknowledged by it");
	i8259_write(&pic, S_CMD, 0x0c);
	is_u64(i8259_read(&pic, S_CMD), 0x82, "the slave is polled itself");
	is_u64(isr(S_CMD), 0x04, "and has it in service");
}

/* Virtual wire with a fixed LINT0 vector: nobody acknowledges, each edge must show at INTR. */
static void test_intr_edges(void)
{
	setup();
	for (unsigned i = 0; i < 5; i++)
		pulse(0);
	is_u64(rises, 5, "every edge of an unmasked input raises INTR anew");
	i8259_write(&pic, M_DATA, 1);
	pulse(0);
	is_u64(rises, 5, "a masked one does not");
	setup();
	pulse(0);
	pulse(1);
	i8259_ack(&pic);
	ok(rises == 1 && !intr, "lower priority waits");
	i8259_write(&pic, M_CMD, 0x20);
	is_u64(rises, 2, "INTR rises for the next after EOI");
}

static void test_ops(void)
{
	setup();
	i8259_master_ops.write(&pic, 1, 1, 0x5a);
	i8259_slave_ops.write(&pic, 1, 1, 0xa5);
	i8259_slave_ops.write(&pic, 0, 1, 0x0b);
	i8259_elcr_ops.write(&pic, 0, 1, 0x20);
	is_u64(i8259_read(&pic, 0x4d0), 0x20, "bus: ELCR of the master");
	i8259_elcr_ops.write(&pic, 1, 1, 0x0c);
	is_u64(i8259_read(&pic, M_DATA), 0x5a, "bus: master");
	is_u64(i8259_read(&pic, S_DATA), 0xa5, "bus: slave");
	is_u64(i8259_elcr_ops.read(&pic, 1, 1), 0x0c, "bus: ELCR");
	is_u64(i8259_master_ops.read(&pic, 1, 1), 0x5a, "bus: master read");
	is_u64(i8259_slave_ops.read(&pic, 1, 1), 0xa5, "bus: slave read");
}

static void test_snapshot(void)
{
	struct i8259_state a, b;

	setup();
	pulse(3);
	i8259_ack(&pic);
	pulse(1);
	i8259_save(&pic, &a);
	setup();
	ok(i8259_load(&pic, &a) == 0 && intr, "load brings INTR back");
	i8259_save(&pic, &b);
	ok(memcmp(&a, &b, sizeof(a)) == 0, "and the same state");
	b.version = 99;
	ok(i8259_load(&pic, &b) == -EINVAL, "a version it does not know");
	b = a;
	b.chip[1].init_step = 7;
	ok(i8259_load(&pic, &b) == -EINVAL, "an initialisation step that is none");
	b = a;
	b.chip[0].elcr = 1;
	ok(i8259_load(&pic, &b) == -EINVAL, "a level-triggered timer");
	b = a;
	b.chip[0].lowest = 8;
	ok(i8259_load(&pic, &b) == -EINVAL, "a priority that is none");
	i8259_save(&pic, &b);
	ok(memcmp(&a, &b, sizeof(a)) == 0, "a refused load changes nothing");
	i8259_reset(&pic);
	ok(!intr && i8259_read(&pic, M_DATA) == 0xff, "reset");
}

/* Independent of the model's own search: who would a fully nested chip serve? */
static int want_pin(const struct i8259_chip_state *c, uint8_t requests)
{
	for (unsigned n = 1; n <= 8; n++) {
		unsigned pin = (c->lowest + n) % 8;
		bool in_service = c->isr >> pin & 1, masked = c->imr >> pin & 1;

		if (in_service && !(c->smm && masked))
			return -1;
		if ((requests >> pin & 1) && !masked)
			return (int)pin;
	}
	return -1;
}

static uint8_t requests_of(const struct i8259_chip_state *c)
{
	return (uint8_t)((c->edges & ~c->elcr) | (c->lines & c->elcr));
}

static bool chip_ready(const struct i8259_chip_state *c)
{
	return c->icw1 != 0 && c->init_step == 0;
}

/* The vector an acknowledge should give now, -1 when INTR should be low. */
static int want_vector(const struct i8259_state *s)
{
	const struct i8259_chip_state *m = &s->chip[0], *sl = &s->chip[1];
	struct i8259_chip_state master = *m;
	bool single = m->icw1 & 2;
	int slave = chip_ready(sl) && !single ? want_pin(sl, requests_of(sl)) : -1;
	uint8_t requests = requests_of(m);
	int pin;

	if (!chip_ready(m))
		return -1;
	if (slave >= 0)
		requests |= 4;
	if (m->icw4 & 0x10)
		master.isr &= 0xfb;
	pin = want_pin(&master, requests);
	if (pin == 2 && slave >= 0)
		return sl->base + slave;
	return pin < 0 ? -1 : m->base + pin;
}

static void test_fuzz(void)
{
	static const uint16_t ports[] = {M_CMD, M_DATA, S_CMD, S_DATA, 0x4d0, 0x4d1};
	struct i8259_state s;
	unsigned acks = 0, wrong = 0, bad_load = 0;

	srand(8259);
	setup();
	for (unsigned i = 0; i < 200000; i++) {
		int want, r = rand() % 10;

		if (r < 5) {
			irq((unsigned)rand() % 16, rand() % 2);
		} else if (r < 9) {
			uint8_t val = (uint8_t)rand();

			/* ICW1 seldom: it forgets what makes a state interesting. */
			if (!(val & 0x10) || rand() % 8 == 0)
				i8259_write(&pic, ports[rand() % 6], val);
			else
				i8259_read(&pic, ports[rand() % 6]);
		}
		i8259_save(&pic, &s);
		want = want_vector(&s);
		wrong += intr != i8259_intr(&pic) || intr != (want >= 0);
		bad_load += i8259_load(&pic, &s) != 0;
		if (want >= 0 && rand() % 2) {
			wrong += i8259_ack(&pic) != want;
			acks++;
		}
	}
	is_u64(wrong, 0, "random operations: INTR and vectors as a reference computes them");
	is_u64(bad_load, 0, "every state that is reached can be loaded");
	ok(acks > 5000, "and there were interrupts among them (%u)", acks);
}

int main(void)
{
	test_power_on();
	test_probe();
	test_init_sequence();
	test_priority();
	test_mask();
	test_cascade();
	test_spurious();
	test_reinit();
	test_elcr();
	test_rotation();
	test_aeoi();
	test_special_mask();
	test_poll();
	test_intr_edges();
	test_ops();
	test_snapshot();
	test_fuzz();
	return tap_done();
}
