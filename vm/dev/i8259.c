/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pair of 8259A interrupt controllers.
 *
 * An input requests service while its edge is latched (edge-triggered) or while it is asserted
 * (level-triggered). The data sheet withdraws an edge's request when the input falls before the
 * acknowledge; the model keeps it, so that a device may pulse its line, and shows the new edge at
 * INTR instead. LTIM of ICW1 has no effect: ELCR has replaced it, as in all PCI chipsets.
 */
#include "vm/dev/i8259.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"

#define MASTER	0
#define SLAVE	1
#define CASCADE 2 /* the master's input that the slave drives */

#define ICW1_MARK   0x10 /* set in ICW1, clear in OCW2 and OCW3 */
#define ICW1_SINGLE 0x02
#define ICW1_ICW4   0x01

#define ICW4_AEOI 0x02 /* no EOI: in service ends with the acknowledge */
#define ICW4_SFNM 0x10 /* special fully nested: a busy slave may request again */

#define OCW3_MARK 0x08
#define OCW3_ESMM 0x40
#define OCW3_SMM  0x20
#define OCW3_POLL 0x04
#define OCW3_RR	  0x02
#define OCW3_RIS  0x01

/* Inputs that are edge-triggered whatever ELCR says: timer, keyboard, cascade; RTC, coprocessor. */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};

static uint8_t bit8(unsigned n)
{
	return (uint8_t)(1U << n);
}

/* The input of highest priority in `mask`, which is not empty; *rank is 0 (highest) to 7. */
static unsigned highest(const struct i8259_chip_state *c, uint8_t mask, unsigned *rank)
{
	for (unsigned i = 0; i < 7; i++) {
		unsigned pin = (c->lowest + 1U + i) & 7;

		if (mask & bit8(pin)) {
			*rank = i;
			return pin;
		}
	}
	*rank = 7;
	return c->lowest;
}

static bool has_slave(const struct i8259 *pic)
{
	return !(pic->s.chip[MASTER].icw1 & ICW1_SINGLE);
}

static int requested(const struct i8259 *pic, unsigned n);

/* What the interrupt request register shows. */
static uint8_t chip_irr(const struct i8259 *pic, unsigned n)
{
	const struct i8259_chip_state *c = &pic->s.chip[n];
	uint8_t irr = (uint8_t)((c->edges & ~c->elcr) | (c->lines & c->elcr));

	if (n == MASTER && has_slave(pic) && requested(pic, SLAVE) >= 0)
		irr |= bit8(CASCADE);
	return irr;
}

/* The input that chip `n` requests service for, or -1. */
static int requested(const struct i8259 *pic, unsigned n)
{
	const struct i8259_chip_state *c = &pic->s.chip[n];
	uint8_t blocking = c->isr;
	unsigned rank, isr_rank, pin;
	uint8_t irr;

	if (!(c->icw1 & ICW1_MARK) || c->init_step != 0)
		return -1; /* not initialised */
	irr = (uint8_t)(chip_irr(pic, n) & ~c->imr);
	if (irr == 0)
		return -1;
	if (c->smm)
		blocking &= (uint8_t)~c->imr;
	if (n == MASTER && (c->icw4 & ICW4_SFNM))
		blocking &= (uint8_t)~bit8(CASCADE);
	pin = highest(c, irr, &rank);
	if (blocking != 0) {
		highest(c, blocking, &isr_rank);
		if (isr_rank <= rank)
			return -1;
	}
	return (int)pin;
}

static void set_intr(struct i8259 *pic, bool level)
{
	if (pic->intr_level == level)
		return;
	pic->intr_level = level;
	irq_line_set(&pic->intr, level);
}

static void update_intr(struct i8259 *pic)
{
	int pin = requested(pic, MASTER);

	if (pin >= 0)
		pic->slave_asked = pin == CASCADE && has_slave(pic);
	set_intr(pic, pin >= 0);
}

/* An acknowledged or new request: INTR falls, and rises again if there is (still) one. */
static void renew_intr(struct i8259 *pic)
{
	set_intr(pic, false);
	update_intr(pic);
}

static void chip_power_on(struct i8259_chip_state *c)
{
	uint8_t lines = c->lines;

	memset(c, 0, sizeof(*c));
	c->lines = lines;
	c->imr = 0xff;
	c->lowest = 7;
}

void i8259_init(struct i8259 *pic, const struct irq_line *intr)
{
	memset(pic, 0, sizeof(*pic));
	pic->intr = *intr;
	pic->s.version = I8259_STATE_VERSION;
	chip_power_on(&pic->s.chip[MASTER]);
	chip_power_on(&pic->s.chip[SLAVE]);
}

void i8259_reset(struct i8259 *pic)
{
	spin_lock(&pic->lock);
	chip_power_on(&pic->s.chip[MASTER]);
	chip_power_on(&pic->s.chip[SLAVE]);
	pic->slave_asked = false;
	update_intr(pic);
	spin_unlock(&pic->lock);
}

void i8259_set_irq(void *ctx, unsigned pin, bool level)
{
	struct i8259 *pic = ctx;
	struct i8259_chip_state *c;
	uint8_t mask;

	if (pin >= I8259_PINS || pin == CASCADE)
		return;
	c = &pic->s.chip[pin / 8];
	mask = bit8(pin % 8);
	spin_lock(&pic->lock);
	if (level == ((c->lines & mask) != 0)) {
		spin_unlock(&pic->lock);
		return;
	}
	c->lines ^= mask;
	if (level && !(c->elcr & mask)) {
		/* A second edge before the acknowledge: in hardware INTR has been low in between.
		 */
		bool again = (c->edges & mask) && !(c->imr & mask);

		c->edges |= mask;
		if (again)
			set_intr(pic, false);
	}
	update_intr(pic);
	spin_unlock(&pic->lock);
}

bool i8259_intr(struct i8259 *pic)
{
	bool level;

	spin_lock(&pic->lock);
	level = pic->intr_level;
	spin_unlock(&pic->lock);
	return level;
}

/* The chip's part in an acknowledge: `pin` goes into service. */
static void chip_ack(struct i8259_chip_state *c, unsigned pin)
{
	c->edges &= (uint8_t)~bit8(pin);
	if (!(c->icw4 & ICW4_AEOI))
		c->isr |= bit8(pin);
	else if (c->rotate_aeoi)
		c->lowest = (uint8_t)pin;
}

/* The slave answers; with its spurious vector when its request has gone. */
static int slave_ack(struct i8259 *pic)
{
	struct i8259_chip_state *slave = &pic->s.chip[SLAVE];
	int pin = requested(pic, SLAVE);

	chip_ack(&pic->s.chip[MASTER], CASCADE);
	if (pin < 0)
		return slave->base + 7;
	chip_ack(slave, (unsigned)pin);
	return slave->base + pin;
}

int i8259_ack(struct i8259 *pic)
{
	struct i8259_chip_state *master = &pic->s.chip[MASTER];
	int pin, vector;

	spin_lock(&pic->lock);
	pin = requested(pic, MASTER);
	if (has_slave(pic) && (pin == CASCADE || (pin < 0 && pic->slave_asked))) {
		vector = slave_ack(pic);
	} else if (pin < 0) {
		vector = master->base + 7; /* spurious: no in-service bit */
	} else {
		chip_ack(master, (unsigned)pin);
		vector = master->base + pin;
	}
	pic->slave_asked = false;
	renew_intr(pic);
	spin_unlock(&pic->lock);
	return vector;
}

/* ICW1: begins initialisation and brings the chip into its default mode (data sheet, ICW1). */
static void write_icw1(struct i8259_chip_state *c, uint8_t val)
{
	c->icw1 = val;
	c->icw3 = 0;
	c->icw4 = 0;
	c->edges = 0; /* the edge detectors want a new rising edge */
	c->isr = 0;
	c->imr = 0;
	c->lowest = 7;
	c->read_isr = 0;
	c->poll = 0;
	c->smm = 0;
	c->rotate_aeoi = 0;
	c->init_step = 2;
}

/* Non-specific EOI: returns the input that left service, or -1. In special mask mode a masked input
 * stays in service. */
static int end_highest(struct i8259_chip_state *c)
{
	uint8_t isr = c->smm ? (uint8_t)(c->isr & ~c->imr) : c->isr;
	unsigned rank, pin;

	if (isr == 0)
		return -1;
	pin = highest(c, isr, &rank);
	c->isr &= (uint8_t)~bit8(pin);
	return (int)pin;
}

static void write_ocw2(struct i8259_chip_state *c, uint8_t val)
{
	uint8_t pin = val & 7;
	int ended;

	switch (val >> 5) { /* R, SL, EOI */
	case 0:		    /* rotate in AEOI mode: clear */
	case 4:		    /* set */
		c->rotate_aeoi = val >> 7;
		break;
	case 1: /* EOI, not specific */
		end_highest(c);
		break;
	case 5: /* and rotate */
		ended = end_highest(c);
		if (ended >= 0)
			c->lowest = (uint8_t)ended;
		break;
	case 3: /* specific EOI */
		c->isr &= (uint8_t)~bit8(pin);
		break;
	case 7: /* and rotate */
		c->isr &= (uint8_t)~bit8(pin);
		c->lowest = pin;
		break;
	case 6: /* set priority */
		c->lowest = pin;
		break;
	default: /* no operation */
		break;
	}
}

static void write_ocw3(struct i8259_chip_state *c, uint8_t val)
{
	if (val & OCW3_ESMM)
		c->smm = (val & OCW3_SMM) != 0;
	if (val & OCW3_POLL)
		c->poll = 1;
	else if (val & OCW3_RR)
		c->read_isr = val & OCW3_RIS;
}

/* A write with A0 = 1: the next initialisation word, or the mask. */
static void write_data(struct i8259_chip_state *c, uint8_t val)
{
	switch (c->init_step) {
	case 2:
		c->base = val & 0xf8;
		c->init_step = 3;
		if (c->icw1 & ICW1_SINGLE)
			c->init_step = c->icw1 & ICW1_ICW4 ? 4 : 0;
		break;
	case 3:
		c->icw3 = val;
		c->init_step = c->icw1 & ICW1_ICW4 ? 4 : 0;
		break;
	case 4:
		c->icw4 = val;
		c->init_step = 0;
		break;
	default:
		c->imr = val;
		break;
	}
}

static void chip_write(struct i8259 *pic, unsigned n, unsigned a0, uint8_t val)
{
	struct i8259_chip_state *c = &pic->s.chip[n];

	spin_lock(&pic->lock);
	if (a0)
		write_data(c, val);
	else if (val & ICW1_MARK)
		write_icw1(c, val);
	else if (val & OCW3_MARK)
		write_ocw3(c, val);
	else
		write_ocw2(c, val);
	update_intr(pic);
	spin_unlock(&pic->lock);
}

/* The poll command turned this read into an acknowledge of this chip alone: bit 7 and the input. */
static uint8_t poll(struct i8259 *pic, unsigned n)
{
	int pin = requested(pic, n);

	if (pin < 0)
		return 0;
	chip_ack(&pic->s.chip[n], (unsigned)pin);
	renew_intr(pic);
	return (uint8_t)(0x80 | pin);
}

static uint8_t chip_read(struct i8259 *pic, unsigned n, unsigned a0)
{
	struct i8259_chip_state *c = &pic->s.chip[n];
	uint8_t val;

	spin_lock(&pic->lock);
	if (c->poll) {
		c->poll = 0;
		val = poll(pic, n);
	} else if (a0) {
		val = c->imr;
	} else {
		val = c->read_isr ? c->isr : chip_irr(pic, n);
	}
	spin_unlock(&pic->lock);
	return val;
}

static uint8_t elcr_read(struct i8259 *pic, unsigned n)
{
	uint8_t val;

	spin_lock(&pic->lock);
	val = pic->s.chip[n].elcr;
	spin_unlock(&pic->lock);
	return val;
}

static void elcr_write(struct i8259 *pic, unsigned n, uint8_t val)
{
	struct i8259_chip_state *c = &pic->s.chip[n];

	spin_lock(&pic->lock);
	c->elcr = val & elcr_writable[n];
	c->edges &= (uint8_t)~c->elcr;
	update_intr(pic);
	spin_unlock(&pic->lock);
}

uint8_t i8259_read(struct i8259 *pic, uint16_t port)
{
	switch (port) {
	case 0x20:
	case 0x21:
		return chip_read(pic, MASTER, port & 1);
	case 0xa0:
	case 0xa1:
		return chip_read(pic, SLAVE, port & 1);
	case 0x4d0:
	case 0x4d1:
		return elcr_read(pic, port & 1);
	default:
		return 0xff;
	}
}

void i8259_write(struct i8259 *pic, uint16_t port, uint8_t val)
{
	switch (port) {
	case 0x20:
	case 0x21:
		chip_write(pic, MASTER, port & 1, val);
		break;
	case 0xa0:
	case 0xa1:
		chip_write(pic, SLAVE, port & 1, val);
		break;
	case 0x4d0:
	case 0x4d1:
		elcr_write(pic, port & 1, val);
		break;
	default:
		break;
	}
}

static uint64_t master_read(void *dev, uint64_t off, unsigned size)
{
	(void)size;
	return chip_read(dev, MASTER, off & 1);
}

static void master_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	(void)size;
	chip_write(dev, MASTER, off & 1, (uint8_t)val);
}

static uint64_t slave_read(void *dev, uint64_t off, unsigned size)
{
	(void)size;
	return chip_read(dev, SLAVE, off & 1);
}

static void slave_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	(void)size;
	chip_write(dev, SLAVE, off & 1, (uint8_t)val);
}

static uint64_t elcr_ops_read(void *dev, uint64_t off, unsigned size)
{
	(void)size;
	return elcr_read(dev, off & 1);
}

static void elcr_ops_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	(void)size;
	elcr_write(dev, off & 1, (uint8_t)val);
}

const struct io_ops i8259_master_ops = {master_read, master_write, 1};
const struct io_ops i8259_slave_ops = {slave_read, slave_write, 1};
const struct io_ops i8259_elcr_ops = {elcr_ops_read, elcr_ops_write, 1};

void i8259_save(struct i8259 *pic, struct i8259_state *out)
{
	spin_lock(&pic->lock);
	*out = pic->s;
	spin_unlock(&pic->lock);
}

static bool chip_valid(const struct i8259_chip_state *c, unsigned n)
{
	return !(c->elcr & ~elcr_writable[n]) && !(c->edges & c->elcr) && !(c->base & 7) &&
	       c->lowest <= 7 && (c->init_step == 0 || (c->init_step >= 2 && c->init_step <= 4)) &&
	       c->read_isr <= 1 && c->poll <= 1 && c->smm <= 1 && c->rotate_aeoi <= 1;
}

int i8259_load(struct i8259 *pic, const struct i8259_state *in)
{
	if (in->version != I8259_STATE_VERSION || !chip_valid(&in->chip[MASTER], MASTER) ||
	    !chip_valid(&in->chip[SLAVE], SLAVE))
		return -EINVAL;
	spin_lock(&pic->lock);
	pic->s = *in;
	update_intr(pic);
	spin_unlock(&pic->lock);
	return 0;
}
