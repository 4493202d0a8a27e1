/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A 16550A serial port (National Semiconductor PC16550D data sheet) as a PC wires it: OUT2 gates
 * the interrupt, and somebody is always there at the other end (CTS, DSR and DCD asserted).
 *
 * The line has no rate: bytes leave as fast as the host takes them, whatever the divisor and format
 * say. When the host takes nothing, the transmitter stays full until uart16550_drained.
 */
#ifndef SLUICE_VM_DEV_UART16550_H
#define SLUICE_VM_DEV_UART16550_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"
#include "vm/dev/irq.h"
#include "vm/dev/vtimer.h"

#define UART16550_FIFO		16
#define UART16550_TX_BUFFER	64 /* behind the transmitter, see write_data */
#define UART16550_STATE_VERSION 1

struct uart16550_state {
	uint32_t version; /* UART16550_STATE_VERSION */
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t lsr_errors;   /* OE, PE, FE, BI since the last read of LSR */
	uint8_t msr;	      /* register as read: lines and their deltas */
	uint8_t thre_pending; /* the transmitter became empty and nobody has been told */
	uint8_t timed_out;    /* the receiver's FIFO was left alone for four characters */
	uint8_t rx_first, rx_count;
	uint8_t tx_count;
	uint8_t rx[UART16550_FIFO];
	uint8_t rx_error[UART16550_FIFO]; /* LSR bits that come up with the byte */
	uint8_t tx[UART16550_TX_BUFFER];
};

/* The other end of the line. Both are called with the UART's lock held; neither calls back. */
struct uart16550_host {
	/* Takes what it can of `len` bytes and returns how many; fewer: uart16550_drained comes. */
	size_t (*tx)(void *ctx, const char *data, size_t len);
	/* There is room for input again (after uart16550_room was 0). */
	void (*rx_room)(void *ctx);
	void *ctx;
};

struct uart16550 {
	struct spinlock lock;
	struct uart16550_state s;
	struct irq_line irq;
	struct uart16550_host host;
	struct vtimer timer; /* character timeout of the receiver */
};

/* `clock` is borrowed; `irq` and `host` are copied. uart16550_reset must follow. */
void uart16550_init(struct uart16550 *uart, const struct vclock *clock, const struct irq_line *irq,
		    const struct uart16550_host *host);

/* The master reset pin, except that format and divisor are 115200 8N1 as firmware would leave them.
 */
void uart16550_reset(struct uart16550 *uart);

/* The VM's clock was stopped / started. */
void uart16550_pause(struct uart16550 *uart);
void uart16550_resume(struct uart16550 *uart);

/* Bytes the receiver takes without an overrun; 0 in loopback, when the line is disconnected. */
size_t uart16550_room(struct uart16550 *uart);

/* Bytes from the line; those beyond the room overrun as in hardware. */
void uart16550_input(struct uart16550 *uart, const char *data, size_t len);

/* The host takes output again. */
void uart16550_drained(struct uart16550 *uart);

/* Eight ports. */
extern const struct io_ops uart16550_ops;

#endif
