/* SPDX-License-Identifier: BSD-2-Clause */
/* Driver of the console's 16550. */
#include "arch/x86/uart.h"

#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/spinlock.h"
#include "vm/pcpu.h"

/* Register offsets; DLL and DLM replace the first two while LCR_DLAB is set. */
enum {
	RBR = 0,
	THR = 0,
	DLL = 0,
	IER = 1,
	DLM = 1,
	IIR = 2,
	FCR = 2,
	LCR = 3,
	MCR = 4,
	LSR = 5,
	MSR = 6
};

#define IER_RX	     0x01
#define IER_TX	     0x02
#define IIR_NONE     0x01
#define IIR_FIFO_ON  0xc0
#define FCR_ENABLE   0x07 /* on, both cleared; receive trigger at one byte */
#define LCR_8N1	     0x03
#define LCR_DLAB     0x80
#define MCR_DTR_RTS  0x03
#define MCR_OUT2     0x08 /* on a PC this connects the interrupt */
#define LSR_RX_READY 0x01
#define LSR_TX_EMPTY 0x20
#define FIFO_SIZE    16

#define RX_RING	     1024   /* power of two */
#define MAX_PER_INTR 256    /* bytes and causes handled at a time: a broken UART must not hold us */
#define TX_PATIENCE  200000 /* status reads, about 0.2 s: far more than 16 bytes take */

/*
 * The lock is for the state and the registers. The interrupt handler takes it too: nobody opens the
 * interrupt window with it held. Opening and the first settings are before other CPUs run.
 */
static struct {
	struct spinlock lock;
	bool present;
	bool wants_room; /* somebody waits for the transmitter */
	bool dead;	 /* it stopped taking bytes: do not wait for it again */
	uint16_t port;
	uint8_t fifo; /* bytes that fit when the transmitter is empty */
	uint8_t ier;
	uint32_t rx_head, rx_tail; /* count up for ever; the ring holds head - tail bytes */
	uint8_t rx[RX_RING];
} uart = {.lock = SPINLOCK_INIT};

static uint8_t get(unsigned reg)
{
	return in8((uint16_t)(uart.port + reg));
}

static void put(unsigned reg, uint8_t v)
{
	out8((uint16_t)(uart.port + reg), v);
}

static void set_ier(uint8_t v)
{
	uart.ier = v;
	put(IER, v);
}

/* The low half of IER holds what is written to it; the upper half reads as zero, or as one of a few
 * bits. */
static bool answers(uint16_t port)
{
	uint16_t ier = (uint16_t)(port + IER), lcr = (uint16_t)(port + LCR);
	uint8_t zero, ones;

	if (in8((uint16_t)(port + LSR)) == 0xff)
		return false;
	out8(lcr, LCR_8N1); /* DLAB off */
	out8(ier, 0);
	zero = in8(ier) & 0x0f;
	out8(ier, 0x0f);
	ones = in8(ier) & 0x0f;
	out8(ier, 0);
	return zero == 0 && ones == 0x0f;
}

static void set_speed(uint32_t baud)
{
	uint32_t divisor = 115200 / baud;

	put(LCR, LCR_8N1 | LCR_DLAB);
	put(DLL, (uint8_t)divisor);
	put(DLM, (uint8_t)(divisor >> 8));
	put(LCR, LCR_8N1);
}

int uart_init(uint16_t port, uint32_t baud)
{
	if (!answers(port))
		return -ENODEV;
	if (uart.present && uart.port != port)
		set_ier(0);
	uart.port = port;
	uart.present = true;
	uart.dead = false;
	uart.wants_room = false;
	uart.rx_head = uart.rx_tail = 0;
	if (baud)
		set_speed(baud);
	put(FCR, FCR_ENABLE);
	uart.fifo = (get(IIR) & IIR_FIFO_ON) == IIR_FIFO_ON ? FIFO_SIZE : 1;
	put(MCR, MCR_DTR_RTS);
	set_ier(0);
	return 0;
}

bool uart_present(void)
{
	return uart.present;
}

uint16_t uart_port(void)
{
	return uart.port;
}

void uart_enable_interrupts(void)
{
	if (!uart.present)
		return;
	put(MCR, MCR_DTR_RTS | MCR_OUT2);
	set_ier(uart.wants_room ? IER_RX | IER_TX : IER_RX);
}

static void move_received(void)
{
	for (unsigned i = 0; i < MAX_PER_INTR && get(LSR) & LSR_RX_READY; i++) {
		uint8_t c = get(RBR);

		if (uart.rx_head - uart.rx_tail < RX_RING)
			uart.rx[uart.rx_head++ % RX_RING] = c;
	}
}

/*
 * The I/O APIC sees edges: the UART's line must have gone down when we leave, so look again until
 * it has nothing to say.
 */
void uart_interrupt(void)
{
	bool room = false;
	uint32_t before;

	if (!uart.present)
		return;
	spin_lock(&uart.lock);
	before = uart.rx_head;
	for (unsigned i = 0; i < MAX_PER_INTR; i++) {
		move_received();
		if (uart.wants_room && get(LSR) & LSR_TX_EMPTY) {
			uart.wants_room = false;
			room = true;
			set_ier(uart.ier & (uint8_t)~IER_TX);
		}
		if (get(IIR) & IIR_NONE)
			break;
		get(MSR); /* causes we did not ask for are cleared by reading */
	}
	room |= uart.rx_head != before;
	spin_unlock(&uart.lock);
	if (room)
		pcpu_raise(PCPU_WORK_CONSOLE);
}

static size_t write_now(const char *s, size_t n)
{
	size_t sent = 0;

	if (!(get(LSR) & LSR_TX_EMPTY))
		return 0;
	while (sent < n && sent < uart.fifo)
		put(THR, (uint8_t)s[sent++]);
	return sent;
}

size_t uart_write(const char *s, size_t n)
{
	size_t sent;

	if (!uart.present)
		return n;
	spin_lock(&uart.lock);
	sent = write_now(s, n);
	spin_unlock(&uart.lock);
	return sent;
}

int uart_read(void)
{
	int c = -1;

	spin_lock(&uart.lock);
	if (uart.rx_head != uart.rx_tail)
		c = uart.rx[uart.rx_tail++ % RX_RING];
	spin_unlock(&uart.lock);
	return c;
}

void uart_want_room(bool on)
{
	if (!uart.present)
		return;
	spin_lock(&uart.lock);
	uart.wants_room = on;
	if (uart.ier) /* interrupts are in use; an empty transmitter interrupts at once */
		set_ier(on ? IER_RX | IER_TX : IER_RX);
	spin_unlock(&uart.lock);
}

void uart_write_unlocked(const char *s, size_t n)
{
	if (!uart.present)
		return;
	while (n) {
		size_t sent = write_now(s, n);

		for (unsigned i = 0; sent == 0 && !uart.dead; i++) {
			if (i == TX_PATIENCE) {
				uart.dead = true;
				break;
			}
			cpu_relax();
			sent = write_now(s, n);
		}
		if (sent == 0)
			return;
		uart.dead = false;
		s += sent;
		n -= sent;
	}
}
