/* SPDX-License-Identifier: BSD-2-Clause */
/* 16550A; register and bit names follow National's PC16550D data sheet, section 8. */
#include "vm/dev/uart16550.h"

#include "lib/string.h"
#include "lib/util.h"

#define REG_DATA 0 /* RBR, THR; divisor low with DLAB */
#define REG_IER	 1 /* divisor high with DLAB */
#define REG_IIR	 2 /* FCR when written */
#define REG_LCR	 3
#define REG_MCR	 4
#define REG_LSR	 5
#define REG_MSR	 6
#define REG_SCR	 7

#define IER_RX	 0x01u
#define IER_THRE 0x02u
#define IER_LINE 0x04u
#define IER_MSR	 0x08u
#define IER_MASK 0x0fu

#define IIR_NONE    0x01u
#define IIR_MSR	    0x00u
#define IIR_THRE    0x02u
#define IIR_RX	    0x04u
#define IIR_TIMEOUT 0x0cu
#define IIR_LINE    0x06u
#define IIR_FIFOS   0xc0u

#define FCR_ENABLE   0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_CLEAR_TX 0x04u
#define FCR_KEPT     0xc9u /* trigger level, DMA mode, enable; the clear bits clear themselves */

#define LCR_BREAK 0x40u
#define LCR_DLAB  0x80u

#define MCR_DTR	 0x01u
#define MCR_RTS	 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_MASK 0x1fu

#define LSR_DR	    0x01u
#define LSR_OE	    0x02u
#define LSR_BI	    0x10u
#define LSR_ERRORS  0x1eu
#define LSR_THRE    0x20u
#define LSR_TEMT    0x40u
#define LSR_IN_FIFO 0x80u

#define MSR_DCTS   0x01u
#define MSR_DDSR   0x02u
#define MSR_TERI   0x04u
#define MSR_DDCD   0x08u
#define MSR_DELTAS 0x0fu
#define MSR_CTS	   0x10u
#define MSR_DSR	   0x20u
#define MSR_RI	   0x40u
#define MSR_DCD	   0x80u

#define LCR_8N1	   0x03u
#define UART_CLOCK 1843200ULL /* Hz; sixteen periods of it and of the divisor make a bit */

static bool fifos_on(const struct uart16550 *u)
{
	return u->s.fcr & FCR_ENABLE;
}

static bool loopback(const struct uart16550 *u)
{
	return u->s.mcr & MCR_LOOP;
}

static unsigned fifo_depth(const struct uart16550 *u)
{
	return fifos_on(u) ? UART16550_FIFO : 1;
}

static unsigned rx_trigger(const struct uart16550 *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return fifos_on(u) ? level[u->s.fcr >> 6] : 1;
}

/* ---- interrupts ---- */

/* The cause of highest priority, as IIR bits 0-3 show it (table IV). */
static uint8_t interrupt_id(const struct uart16550 *u)
{
	if ((u->s.ier & IER_LINE) && (u->s.lsr_errors & LSR_ERRORS))
		return IIR_LINE;
	if (u->s.ier & IER_RX) {
		if (u->s.rx_count >= rx_trigger(u))
			return IIR_RX;
		if (u->s.timed_out)
			return IIR_TIMEOUT;
	}
	if ((u->s.ier & IER_THRE) && u->s.thre_pending)
		return IIR_THRE;
	if ((u->s.ier & IER_MSR) && (u->s.msr & MSR_DELTAS))
		return IIR_MSR;
	return IIR_NONE;
}

/*
 * A PC lets the interrupt through only while OUT2 is active; loopback forces the pin inactive,
 * however MCR has it.
 */
static void update_irq(struct uart16550 *u)
{
	bool gate = (u->s.mcr & MCR_OUT2) && !loopback(u);

	irq_line_set(&u->irq, gate && interrupt_id(u) != IIR_NONE);
}

/* ---- receiver ---- */

/* Four characters' time: start, data, parity and stop bits at the programmed rate (8.4.1). */
static uint64_t timeout_ns(const struct uart16550 *u)
{
	uint64_t divisor = max_u64((uint64_t)u->s.dlm << 8 | u->s.dll, 1);
	uint64_t bits = 1 + 5 + (u->s.lcr & 3u) + (u->s.lcr >> 3 & 1u) + 1 + (u->s.lcr >> 2 & 1u);

	return 4 * bits * 16 * divisor * 1000000000ULL / UART_CLOCK;
}

/* The receiver's FIFO was touched: the timeout begins anew if something is left in it. */
static void restart_timeout(struct uart16550 *u)
{
	uint64_t deadline = VCLOCK_NEVER;

	u->s.timed_out = false;
	if (fifos_on(u) && u->s.rx_count != 0 && (u->s.ier & IER_RX))
		deadline = vtimer_now(&u->timer) + timeout_ns(u);
	vtimer_set(&u->timer, deadline);
}

static void character_timeout(struct timer *t)
{
	struct uart16550 *u = container_of(t, struct uart16550, timer.timer);

	spin_lock(&u->lock);
	if (vtimer_now(&u->timer) >= u->timer.deadline) {
		u->timer.deadline = VCLOCK_NEVER;
		u->s.timed_out = u->s.rx_count != 0;
		update_irq(u);
	}
	spin_unlock(&u->lock);
}

static void clear_rx(struct uart16550 *u)
{
	bool was_full = u->s.rx_count >= fifo_depth(u);

	u->s.rx_count = 0;
	u->s.rx_first = 0;
	restart_timeout(u);
	if (was_full && !loopback(u))
		u->host.rx_room(u->host.ctx);
}

/* Errors show in LSR when the byte they came with is the next to be read. */
static void reveal_error(struct uart16550 *u)
{
	if (u->s.rx_count != 0) {
		u->s.lsr_errors |= u->s.rx_error[u->s.rx_first];
		u->s.rx_error[u->s.rx_first] = 0;
	}
}

static void receive(struct uart16550 *u, uint8_t byte, uint8_t error)
{
	unsigned at;

	if (u->s.rx_count >= fifo_depth(u)) {
		u->s.lsr_errors |= LSR_OE;
		if (fifos_on(u)) /* what is in the FIFO stays, the newcomer is lost */
			return;
		u->s.rx_count = 0; /* a lone buffer is overwritten */
	}
	at = (u->s.rx_first + u->s.rx_count) % UART16550_FIFO;
	u->s.rx[at] = byte;
	u->s.rx_error[at] = error;
	u->s.rx_count++;
	reveal_error(u);
	restart_timeout(u);
}

static uint8_t read_data(struct uart16550 *u)
{
	uint8_t byte = u->s.rx[u->s.rx_first];
	bool was_full = u->s.rx_count >= fifo_depth(u);

	if (u->s.rx_count == 0) /* the last byte again, as the buffer still holds it */
		return u->s.rx[(u->s.rx_first + UART16550_FIFO - 1) % UART16550_FIFO];
	u->s.rx_first = (uint8_t)((u->s.rx_first + 1u) % UART16550_FIFO);
	u->s.rx_count--;
	reveal_error(u);
	restart_timeout(u);
	if (was_full && !loopback(u))
		u->host.rx_room(u->host.ctx);
	return byte;
}

/* ---- transmitter ---- */

/* Moves on what the other end takes. THRE comes up with the last byte gone. */
static void transmit(struct uart16550 *u)
{
	size_t sent = 0;

	if (u->s.tx_count == 0)
		return;
	if (loopback(u)) {
		/* Only here can a guest see the format: what is cut off does not come back. */
		uint8_t mask = (uint8_t)(0xff >> (3 - (u->s.lcr & 3u)));

		for (; sent < u->s.tx_count; sent++)
			receive(u, u->s.tx[sent] & mask, 0);
	} else {
		sent = u->host.tx(u->host.ctx, (const char *)u->s.tx, u->s.tx_count);
		sent = min_u64(sent, u->s.tx_count);
	}
	u->s.tx_count = (uint8_t)(u->s.tx_count - sent);
	memmove(u->s.tx, u->s.tx + sent, u->s.tx_count);
	if (u->s.tx_count == 0)
		u->s.thre_pending = true;
}

static void write_data(struct uart16550 *u, uint8_t byte)
{
	/*
	 * The line behind may be slower than the divisor says, and drivers wait only so long for
	 * THRE before they write all the same (Linux's console: 10 ms a byte). The buffer is deeper
	 * than the FIFO for them. A guest that never looks overwrites the newest byte.
	 */
	if (u->s.tx_count < UART16550_TX_BUFFER)
		u->s.tx_count++;
	u->s.tx[u->s.tx_count - 1] = byte;
	u->s.thre_pending = false;
	/* The interrupt is withdrawn and comes anew: an edge-triggered input must see both. */
	update_irq(u);
	transmit(u);
}

/* ---- modem lines ---- */

static void update_modem_lines(struct uart16550 *u)
{
	uint8_t old = u->s.msr, now = MSR_CTS | MSR_DSR | MSR_DCD, changed;

	if (loopback(u))
		now = (uint8_t)((u->s.mcr & MCR_RTS ? MSR_CTS : 0) |
				(u->s.mcr & MCR_DTR ? MSR_DSR : 0) |
				(u->s.mcr & MCR_OUT1 ? MSR_RI : 0) |
				(u->s.mcr & MCR_OUT2 ? MSR_DCD : 0));
	changed = (old ^ now) & (MSR_CTS | MSR_DSR | MSR_DCD);
	now |= (uint8_t)((old & MSR_DELTAS) | changed >> 4);
	if ((old & MSR_RI) && !(now & MSR_RI)) /* RI counts at its trailing edge only */
		now |= MSR_TERI;
	u->s.msr = now;
}

/* ---- registers ---- */

static void write_ier(struct uart16550 *u, uint8_t val)
{
	uint8_t old = u->s.ier;

	u->s.ier = val & IER_MASK;
	/* Enabling it with the transmitter empty asserts it at once: drivers start sending so. */
	if (!(old & IER_THRE) && (u->s.ier & IER_THRE) && u->s.tx_count == 0)
		u->s.thre_pending = true;
	if ((old ^ u->s.ier) & IER_RX)
		restart_timeout(u);
}

static void write_fcr(struct uart16550 *u, uint8_t val)
{
	bool toggled = (val ^ u->s.fcr) & FCR_ENABLE;
	bool clear_all = toggled; /* either direction empties both (8.4) */

	if ((clear_all || ((val & FCR_ENABLE) && (val & FCR_CLEAR_TX))) && u->s.tx_count != 0) {
		u->s.tx_count = 0;
		u->s.thre_pending = true;
	}
	if (clear_all || ((val & FCR_ENABLE) && (val & FCR_CLEAR_RX)))
		clear_rx(u);
	/* The other bits are taken only together with the enable bit. */
	u->s.fcr = val & FCR_ENABLE ? val & FCR_KEPT : 0;
}

static void write_lcr(struct uart16550 *u, uint8_t val)
{
	bool breaks = !(u->s.lcr & LCR_BREAK) && (val & LCR_BREAK);

	u->s.lcr = val;
	if (breaks && loopback(u))
		receive(u, 0, LSR_BI);
}

static void write_mcr(struct uart16550 *u, uint8_t val)
{
	bool reconnected = loopback(u) && !(val & MCR_LOOP);

	u->s.mcr = val & MCR_MASK;
	update_modem_lines(u);
	if (reconnected && u->s.rx_count < fifo_depth(u))
		u->host.rx_room(u->host.ctx);
}

static uint8_t read_iir(struct uart16550 *u)
{
	uint8_t id = interrupt_id(u);

	if (id == IIR_THRE) /* told: that alone clears it */
		u->s.thre_pending = false;
	return (uint8_t)(id | (fifos_on(u) ? IIR_FIFOS : 0));
}

static uint8_t read_lsr(struct uart16550 *u)
{
	uint8_t val = u->s.lsr_errors;

	if (u->s.rx_count != 0)
		val |= LSR_DR;
	if (u->s.tx_count == 0)
		val |= LSR_THRE | LSR_TEMT;
	for (unsigned i = 0; fifos_on(u) && i < u->s.rx_count; i++)
		if (u->s.rx_error[(u->s.rx_first + i) % UART16550_FIFO] != 0)
			val |= LSR_IN_FIFO;
	u->s.lsr_errors = 0;
	return val;
}

static uint8_t read_register(struct uart16550 *u, unsigned reg)
{
	bool dlab = u->s.lcr & LCR_DLAB;
	uint8_t val;

	switch (reg) {
	case REG_DATA:
		return dlab ? u->s.dll : read_data(u);
	case REG_IER:
		return dlab ? u->s.dlm : u->s.ier;
	case REG_IIR:
		return read_iir(u);
	case REG_LCR:
		return u->s.lcr;
	case REG_MCR:
		return u->s.mcr;
	case REG_LSR:
		return read_lsr(u);
	case REG_MSR:
		val = u->s.msr;
		u->s.msr &= (uint8_t)~MSR_DELTAS;
		return val;
	default:
		return u->s.scr;
	}
}

static void write_register(struct uart16550 *u, unsigned reg, uint8_t val)
{
	bool dlab = u->s.lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (dlab)
			u->s.dll = val;
		else
			write_data(u, val);
		break;
	case REG_IER:
		if (dlab)
			u->s.dlm = val;
		else
			write_ier(u, val);
		break;
	case REG_IIR:
		write_fcr(u, val);
		break;
	case REG_LCR:
		write_lcr(u, val);
		break;
	case REG_MCR:
		write_mcr(u, val);
		break;
	case REG_SCR:
		u->s.scr = val;
		break;
	default: /* LSR and MSR: factory test only */
		break;
	}
}

static uint64_t uart_io_read(void *dev, uint64_t off, unsigned size)
{
	struct uart16550 *u = dev;
	uint8_t val;

	(void)size;
	spin_lock(&u->lock);
	val = read_register(u, (unsigned)off);
	update_irq(u);
	spin_unlock(&u->lock);
	return val;
}

static void uart_io_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct uart16550 *u = dev;

	(void)size;
	spin_lock(&u->lock);
	write_register(u, (unsigned)off, (uint8_t)val);
	update_irq(u);
	spin_unlock(&u->lock);
}

const struct io_ops uart16550_ops = {.read = uart_io_read, .write = uart_io_write, .max_size = 1};

/* ---- the host's side ---- */

size_t uart16550_room(struct uart16550 *u)
{
	size_t room = 0;

	spin_lock(&u->lock);
	if (!loopback(u) && u->s.rx_count < fifo_depth(u))
		room = fifo_depth(u) - u->s.rx_count;
	spin_unlock(&u->lock);
	return room;
}

void uart16550_input(struct uart16550 *u, const char *data, size_t len)
{
	spin_lock(&u->lock);
	for (size_t i = 0; i < len && !loopback(u); i++)
		receive(u, (uint8_t)data[i], 0);
	update_irq(u);
	spin_unlock(&u->lock);
}

void uart16550_drained(struct uart16550 *u)
{
	spin_lock(&u->lock);
	transmit(u);
	update_irq(u);
	spin_unlock(&u->lock);
}

void uart16550_init(struct uart16550 *u, const struct vclock *clock, const struct irq_line *irq,
		    const struct uart16550_host *host)
{
	memset(u, 0, sizeof(*u));
	u->lock = (struct spinlock)SPINLOCK_INIT;
	u->irq = *irq;
	u->host = *host;
	vtimer_init(&u->timer, clock, character_timeout);
}

void uart16550_reset(struct uart16550 *u)
{
	spin_lock(&u->lock);
	memset(&u->s, 0, sizeof(u->s));
	u->s.version = UART16550_STATE_VERSION;
	u->s.lcr = LCR_8N1;
	u->s.dll = 1;
	u->s.msr = MSR_CTS | MSR_DSR | MSR_DCD;
	vtimer_set(&u->timer, VCLOCK_NEVER);
	update_irq(u);
	u->host.rx_room(u->host.ctx);
	spin_unlock(&u->lock);
}

void uart16550_pause(struct uart16550 *u)
{
	vtimer_pause(&u->timer, &u->lock);
}

void uart16550_resume(struct uart16550 *u)
{
	spin_lock(&u->lock);
	vtimer_resume(&u->timer);
	spin_unlock(&u->lock);
}
