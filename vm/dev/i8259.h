/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC's pair of 8259A interrupt controllers, the slave cascaded on input 2 of the master, and
 * the edge/level control registers of PCI chipsets (Intel 8259A data sheet, order number 231468).
 *
 * The output INTR is a line: the board wires it to LINT0 of the local APICs, where a guest in
 * virtual wire mode has an ExtINT entry. Everything takes the model's own lock; INTR changes under
 * it.
 */
#ifndef SLUICE_VM_DEV_I8259_H
#define SLUICE_VM_DEV_I8259_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"
#include "vm/dev/irq.h"

#define I8259_PINS	    16 /* 0-7 master (2 is the cascade and no input), 8-15 slave */
#define I8259_STATE_VERSION 1

/* Guest-visible state of one chip; bit n of every mask is input n. */
struct i8259_chip_state {
	uint8_t lines; /* levels at the inputs */
	uint8_t edges; /* rising edges not yet acknowledged */
	uint8_t isr;   /* in service */
	uint8_t imr;   /* masked */
	uint8_t elcr;  /* 1: level-triggered */
	uint8_t base;  /* ICW2: vector of input 0; low three bits clear */
	uint8_t icw1, icw3, icw4;
	uint8_t lowest;	   /* input of lowest priority (7 after initialisation; rotates) */
	uint8_t init_step; /* next initialisation word: 0 none, else 2..4 */
	uint8_t read_isr;  /* OCW3: port 0 reads ISR (1) or IRR (0) */
	uint8_t poll;	   /* OCW3 poll command outstanding */
	uint8_t smm;	   /* special mask mode */
	uint8_t rotate_aeoi;
};

struct i8259_state {
	uint32_t version;		 /* I8259_STATE_VERSION */
	struct i8259_chip_state chip[2]; /* master, slave */
};

struct i8259 {
	struct spinlock lock;
	struct i8259_state s;
	struct irq_line intr; /* output */
	bool intr_level;      /* what it was set to last */
	bool slave_asked;     /* the last request at INTR came from the slave */
};

/* `intr` is copied; a line without a receiver is allowed. Leaves the chips as after i8259_reset. */
void i8259_init(struct i8259 *pic, const struct irq_line *intr);

/* Power-on: not initialised, all masked, so nothing is requested before the guest writes ICW1.
 * Input levels are kept: they belong to the devices. */
void i8259_reset(struct i8259 *pic);

/* Input `pin` (0-15) has this level; the form of irq_line.set, ctx is the struct i8259. Pin 2 and
 * pins above 15 are ignored. */
void i8259_set_irq(void *ctx, unsigned pin, bool level);

/* True while the master asserts INTR. */
bool i8259_intr(struct i8259 *pic);

/*
 * One interrupt acknowledge sequence: returns the vector (0-255) and moves the request into
 * service. A request that has gone meanwhile gives the spurious vector, input 7 of the chip it came
 * from, with no in-service bit (a spurious 15 does leave 2 in service at the master, as in
 * hardware).
 */
int i8259_ack(struct i8259 *pic);

/* Ports 0x20/0x21, 0xa0/0xa1 and 0x4d0/0x4d1; others read 0xff and ignore writes. */
uint8_t i8259_read(struct i8259 *pic, uint16_t port);
void i8259_write(struct i8259 *pic, uint16_t port, uint8_t val);

/* The same for a port bus, dev is the struct i8259: regions of two ports at 0x20, 0xa0 and 0x4d0.
 */
extern const struct io_ops i8259_master_ops;
extern const struct io_ops i8259_slave_ops;
extern const struct io_ops i8259_elcr_ops;

/* Copies of the guest-visible state. i8259_load refuses (-EINVAL) a version or value it does not
 * know and then changes nothing. */
void i8259_save(struct i8259 *pic, struct i8259_state *out);
int i8259_load(struct i8259 *pic, const struct i8259_state *in);

#endif
