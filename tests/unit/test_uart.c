/* SPDX-License-Identifier: BSD-2-Clause */
/* The 16550A: probes, FIFOs, interrupts both ways, loopback, a host that takes nothing for a while.
 */
// links: vm/dev/uart16550.c vm/clock.c vm/timer.c
#include "vm/dev/uart16550.h"

#include <stdlib.h>

#include "tests/host/devrig.h"
#include "tests/tap.h"

#define RBR 0
#define IER 1
#define IIR 2
#define LCR 3
#define MCR 4
#define LSR 5
#define MSR 6
#define SCR 7

static struct uart16550 uart;
static struct rig_line irq4;
static char sent[4096];
static size_t sent_len, host_limit; /* the host takes up to host_limit bytes in all */
static unsigned room_calls;

static size_t host_tx(void *ctx, const char *data, size_t len)
{
	size_t n = host_limit - sent_len < len ? host_limit - sent_len : len;

	(void)ctx;
	memcpy(sent + sent_len, data, n);
	sent_len += n;
	return n;
}

static void host_rx_room(void *ctx)
{
	(void)ctx;
	room_calls++;
}

static void out8(unsigned reg, uint8_t val)
{
	uart16550_ops.write(&uart, reg, 1, val);
}

static uint8_t in8(unsigned reg)
{
	return (uint8_t)uart16550_ops.read(&uart, reg, 1);
}

static void setup(void)
{
	const struct uart16550_host host = {.tx = host_tx, .rx_room = host_rx_room};
	struct irq_line line = rig_line(&irq4);

	irq4 = (struct rig_line){0};
	rig_reset();
	sent_len = 0;
	host_limit = sizeof(sent);
	uart16550_init(&uart, &rig_clock, &line, &host);
	uart16550_reset(&uart);
	room_calls = 0;
}

static void input(const char *text)
{
	uart16550_input(&uart, text, strlen(text));
}

/* What Linux's autoconfig of an 8250 does, in its order. */
static void test_probe(void)
{
	uint8_t first, second;

	setup();
	out8(IER, 0);
	first = in8(IER) & 0x0f;
	out8(IER, 0x0f);
	second = in8(IER);
	out8(IER, 0);
	ok(first == 0 && second == 0x0f, "interrupt enables read back, upper bits zero");
	out8(IER, 0x40);
	is_u64(in8(IER), 0, "no XScale unit enable");

	out8(MCR, 0x10 | 0x0a);
	is_u64(in8(MSR) & 0xf0, 0x90, "loopback: RTS and OUT2 come back as CTS and DCD");
	out8(MCR, 0x10 | 0x05);
	is_u64(in8(MSR) & 0xf0, 0x60, "DTR and OUT1 as DSR and RI");
	out8(MCR, 0);
	is_u64(in8(MSR) & 0xf0, 0xb0, "outside: CTS, DSR, DCD");

	out8(LCR, 0);
	out8(IIR, 0x01);
	is_u64(in8(IIR) >> 6, 3, "FIFOs that work: a 16550A");
	out8(LCR, 0xbf);
	ok(in8(IIR) != 0, "no extended features register behind LCR = 0xbf");
	out8(LCR, 0x80);
	out8(IIR, 0x21);
	is_u64(in8(IIR) >> 5, 6, "no 64-byte FIFO of a 16750");
	out8(LCR, 0xe0);
	is_u64(in8(IIR) & 0x10, 0, "no National super I/O");
	out8(LCR, 0x80);
	out8(RBR, 0x34);
	out8(IER, 0x12);
	ok(in8(RBR) == 0x34 && in8(IER) == 0x12, "divisor latch");
	out8(LCR, 0x03);
	ok(in8(IER) == 0 && sent_len == 0, "and it is neither IER nor data");
	out8(SCR, 0xa5);
	is_u64(in8(SCR), 0xa5, "scratch");
	is_u64(in8(LCR), 0x03, "line control");
	out8(MCR, 0xff);
	is_u64(in8(MCR), 0x1f, "modem control has five bits");
}

/* Linux fills the transmitter through loopback to see how deep the FIFO is. */
static void test_fifo_size(void)
{
	unsigned count = 0;

	setup();
	out8(IIR, 0x07);
	out8(MCR, 0x10);
	for (unsigned i = 0; i < 256; i++)
		out8(RBR, (uint8_t)i);
	ok(in8(LSR) & 0x02, "overrun");
	while ((in8(LSR) & 1) && count < 256) {
		if (in8(RBR) != count)
			break;
		count++;
	}
	is_u64(count, 16, "the first sixteen are there");
	is_u64(sent_len, 0, "nothing left the UART");
	out8(LCR, 0x02); /* seven bits */
	out8(RBR, 0xff);
	is_u64(in8(RBR), 0x7f, "loopback cuts to the word length");
	out8(LCR, 0x42);
	is_u64(in8(LSR) & 0x91, 0x11, "a break: BI with a byte");
	is_u64(in8(LSR) & 0x10, 0, "reading LSR clears it");
	is_u64(in8(RBR), 0, "the byte is zero");

	setup();
	out8(MCR, 0x10);
	out8(RBR, 'a');
	out8(RBR, 'b');
	ok((in8(LSR) & 3) == 3 && in8(RBR) == 'b' && !(in8(LSR) & 1),
	   "without FIFOs: one byte, overwritten, overrun");
}

/* Start-up of a Linux port: does re-enabling the THRE interrupt assert it again. */
static void test_thre(void)
{
	setup();
	out8(MCR, 0x08);
	is_u64(in8(IIR), 0x01, "nothing pending after reset");
	out8(IER, 0x02);
	ok(irq4.level, "enabled with an empty transmitter: at once");
	is_u64(in8(IIR), 0x02, "THRE");
	ok(!irq4.level, "reading IIR withdraws it");
	is_u64(in8(IIR), 0x01, "told once");
	out8(IER, 0x02);
	ok(!irq4.level, "writing the same enable again is no edge");
	out8(IER, 0);
	out8(IER, 0x02);
	ok(irq4.level && in8(IIR) == 0x02, "off and on: again");
	is_u64(in8(LSR) & 0x60, 0x60, "LSR: empty");

	irq4.rises = 0;
	out8(RBR, 'x');
	ok(irq4.level && irq4.rises == 1, "a byte that left at once: a new interrupt");
	out8(RBR, 'y');
	ok(irq4.rises == 2 && irq4.falls >= 1, "an edge for the next one too");
	ok(sent_len == 2 && memcmp(sent, "xy", 2) == 0, "both arrived");
	out8(IER, 0x07);
	input("k");
	is_u64(in8(IIR), 0x04, "data comes before THRE");
	is_u64(in8(IIR), 0x04, "and does not clear by being told");
	in8(RBR);
	is_u64(in8(IIR), 0x02, "THRE was still there");
}

static void test_host_behind(void)
{
	char expect[40];

	setup();
	out8(IIR, 0x01);
	out8(MCR, 0x08);
	host_limit = 5;
	out8(IER, 0x02);
	in8(IIR);
	for (unsigned i = 0; i < 20; i++)
		out8(RBR, (uint8_t)('a' + i));
	is_u64(in8(LSR) & 0x60, 0, "the host takes nothing more: not empty");
	ok(!irq4.level && in8(IIR) == 0xc1, "no THRE interrupt");
	is_u64(sent_len, 5, "five are out");
	uart16550_drained(&uart);
	ok(!(in8(LSR) & 0x20), "a false hope changes nothing");
	host_limit = 10;
	uart16550_drained(&uart);
	ok(sent_len == 10 && !(in8(LSR) & 0x20) && !irq4.level, "some more, not all");
	host_limit = 4096;
	uart16550_drained(&uart);
	ok((in8(LSR) & 0x60) == 0x60 && irq4.level, "all out: empty, interrupt");
	is_u64(in8(IIR), 0xc2, "THRE");
	memcpy(expect, "abcdefghijklmnopqrst", 20);
	ok(sent_len == 20 && memcmp(sent, expect, 20) == 0, "20 bytes in order");

	setup();
	host_limit = 0;
	out8(IIR, 0x01);
	for (unsigned i = 0; i < UART16550_TX_BUFFER; i++)
		out8(RBR, (uint8_t)('0' + i));
	ok(!(in8(LSR) & 0x20), "who writes on without THRE is told");
	out8(RBR, '!');
	host_limit = 4096;
	uart16550_drained(&uart);
	ok(sent_len == UART16550_TX_BUFFER && sent[0] == '0' &&
		   sent[sent_len - 2] == '0' + UART16550_TX_BUFFER - 2 && sent[sent_len - 1] == '!',
	   "loses nothing up to 64 bytes, then the newest is overwritten");
	host_limit = sent_len;
	out8(RBR, 'q');
	out8(IIR, 0x05);
	ok((in8(LSR) & 0x60) == 0x60, "clearing the transmit FIFO empties it");
	host_limit = 4096;
	uart16550_drained(&uart);
	is_u64(sent_len, UART16550_TX_BUFFER, "and what was in it is gone");
}

static void test_receive(void)
{
	static const uint8_t fcr[4] = {0x01, 0x41, 0x81, 0xc1};
	static const unsigned level[4] = {1, 4, 8, 14};

	for (unsigned t = 0; t < 4; t++) {
		unsigned early = 0;

		setup();
		out8(MCR, 0x08);
		out8(IER, 0x01);
		out8(IIR, fcr[t]);
		for (unsigned i = 0; i < level[t]; i++) {
			early += irq4.level;
			input("z");
		}
		ok(early == 0 && irq4.level && in8(IIR) == 0xc4, "trigger level %u", level[t]);
		in8(RBR);
		ok(!irq4.level, "level %u: below it the interrupt goes", level[t]);
	}
	setup();
	out8(IIR, 0x01);
	is_u64(uart16550_room(&uart), 16, "room for sixteen");
	input("0123456789");
	is_u64(uart16550_room(&uart), 6, "then for six");
	input("abcdefgh");
	ok(uart16550_room(&uart) == 0 && (in8(LSR) & 0x02), "beyond that: overrun");
	room_calls = 0;
	for (unsigned i = 0; i < 16; i++)
		ok(in8(RBR) == (uint8_t) "0123456789abcdef"[i], "byte %u in order", i);
	ok(room_calls == 1 && !(in8(LSR) & 1), "the host was told once that there is room");
	is_u64(in8(RBR), 'f', "an empty receiver shows the last byte");

	input("0123456789abcdef");
	room_calls = 0;
	out8(IIR, 0x03);
	ok(!(in8(LSR) & 1) && room_calls == 1, "clearing the FIFO makes room");

	setup();
	is_u64(uart16550_room(&uart), 1, "without FIFOs room for one");
	input("a");
	is_u64(uart16550_room(&uart), 0, "then for none");
	out8(MCR, 0x10);
	in8(RBR);
	is_u64(uart16550_room(&uart), 0, "loopback disconnects the line");
	input("b");
	ok(!(in8(LSR) & 1), "nothing gets in");
	room_calls = 0;
	out8(MCR, 0);
	is_u64(room_calls, 1, "out of loopback: there is room again");
}

/* 115200 8N1: ten bits a character, four of them. */
#define TIMEOUT_NS 347222

static void test_timeout(void)
{
	setup();
	out8(MCR, 0x08);
	out8(IER, 0x01);
	out8(IIR, 0x81);
	input("ab");
	rig_advance(TIMEOUT_NS - 1);
	ok(!irq4.level && in8(IIR) == 0xc1, "two bytes below the trigger: nothing yet");
	input("c");
	rig_advance(TIMEOUT_NS - 1);
	ok(!irq4.level, "another byte begins the wait anew");
	rig_advance(1);
	ok(irq4.level && in8(IIR) == 0xcc, "timeout indication");
	in8(RBR);
	ok(!irq4.level, "a read clears it");
	rig_advance(TIMEOUT_NS);
	ok(irq4.level && in8(IIR) == 0xcc, "and it comes again for the rest");
	in8(RBR);
	in8(RBR);
	ok(!irq4.level && rig_next_timer() == UINT64_MAX, "nothing left, nothing to wait for");
	rig_advance(10 * TIMEOUT_NS);
	ok(!irq4.level, "an empty FIFO does not time out");

	out8(LCR, 0x80); /* 9600 7E2: eleven bits */
	out8(RBR, 12);
	out8(LCR, 0x1e);
	input("d");
	rig_advance(4 * 11 * 16 * 12 * 1000000000ULL / 1843200 - 1);
	ok(!irq4.level, "the programmed format counts");
	rig_advance(1);
	ok(irq4.level, "11 bits at 9600");

	vclock_stop(&rig_clock);
	setup();
	out8(IER, 0x01);
	out8(MCR, 0x08);
	out8(IIR, 0xc1);
	input("e");
	vclock_stop(&rig_clock);
	uart16550_pause(&uart);
	rig_advance(10 * TIMEOUT_NS);
	ok(!irq4.level, "no timeout while the VM stands");
	vclock_start(&rig_clock);
	uart16550_resume(&uart);
	rig_advance(TIMEOUT_NS);
	ok(irq4.level, "but afterwards");
}

static void test_line_and_modem(void)
{
	setup();
	out8(IIR, 0x01);
	out8(IER, 0x0f);
	in8(IIR);
	ok(!irq4.level, "OUT2 off: a pending cause does not reach the PC");
	out8(MCR, 0x10 | 0x08);
	is_u64(in8(MSR), 0x83, "entering loopback: CTS and DSR gone, DCD is OUT2");
	out8(LCR, 0x43);
	is_u64(in8(IIR), 0xc6, "a break is a line status interrupt, the highest");
	ok(!irq4.level, "loopback holds OUT2 inactive");
	in8(LSR);
	in8(RBR);
	out8(MCR, 0x10 | 0x0c);
	out8(MCR, 0x10 | 0x08);
	is_u64(in8(IIR), 0xc0, "modem status");
	is_u64(in8(MSR), 0x84, "RI's trailing edge");
	is_u64(in8(IIR), 0xc1, "reading MSR clears it");
	out8(MCR, 0x08);
	ok(irq4.level, "leaving loopback: the lines come back, interrupt through the gate");
	is_u64(in8(MSR), 0xb3, "CTS and DSR changed");
	ok(!irq4.level, "quiet");
	for (unsigned i = 0; i < 17; i++)
		input("o");
	is_u64(in8(IIR), 0xc6, "overrun is a line status interrupt");
	in8(LSR);
	is_u64(in8(IIR), 0xc4, "cleared by reading LSR");
	out8(LSR, 0);
	out8(MSR, 0xff);
	ok((in8(LSR) & 0x61) == 0x61 && in8(MSR) == 0xb0, "status registers cannot be written");
	uart16550_reset(&uart);
	ok(!irq4.level && in8(IIR) == 0x01 && in8(LCR) == 0x03, "reset");
}

static void test_fifo_corners(void)
{
	setup();
	out8(IIR, 0x01);
	out8(MCR, 0x08);
	host_limit = 0;
	out8(IER, 0x02);
	out8(RBR, 'a');
	out8(RBR, 'b');
	ok(!irq4.level, "two bytes wait");
	out8(IIR, 0x05);
	ok(irq4.level && in8(IIR) == 0xc2, "clearing the transmitter is a THRE interrupt");
	out8(IIR, 0x05);
	ok(!irq4.level, "clearing an empty one is none");

	out8(IER, 0x01);
	input("ab");
	out8(IIR, 0x83);
	ok(rig_next_timer() == UINT64_MAX, "a cleared receiver does not time out");

	out8(MCR, 0x18); /* loopback: three bytes, a break among them */
	out8(RBR, 'x');
	host_limit = 4096;
	out8(LCR, 0x43);
	out8(LCR, 0x03);
	out8(RBR, 'y');
	is_u64(in8(LSR) & 0x91, 0x81, "a break further back: only the FIFO's summary bit");
	is_u64(in8(RBR), 'x', "first the byte before it");
	is_u64(in8(LSR) & 0x91, 0x11, "then BI, and no other error behind");
	is_u64(in8(RBR), 0, "its zero");
	is_u64(in8(RBR), 'y', "and the byte after it");
	room_calls = 0;
	out8(MCR, 0x18);
	is_u64(room_calls, 0, "loopback that stays on says nothing to the line");
	for (unsigned i = 0; i < 17; i++)
		out8(RBR, 'z');
	out8(MCR, 0x08);
	is_u64(room_calls, 0, "nor does leaving it with a full receiver");
	is_u64(in8(LSR) & 0x02, 0x02, "overrun");
}

/* An interrupt-driven conversation: echo everything, at any trigger and host speed. */
static void test_echo(void)
{
	unsigned fed = 0, spurious = 0;
	char expect[3000];

	setup();
	out8(IIR, 0x81);
	out8(MCR, 0x0b);
	out8(IER, 0x05);
	host_limit = 0;
	srand(7);
	for (unsigned guard = 0; sent_len < sizeof(expect) && guard < 1000000; guard++) {
		size_t room = uart16550_room(&uart);

		while (room-- > 0 && fed < sizeof(expect) && rand() % 3) {
			expect[fed] = (char)('!' + rand() % 90);
			uart16550_input(&uart, &expect[fed++], 1);
		}
		if (rand() % 2) {
			host_limit = sent_len + (unsigned)rand() % 9;
			if (host_limit > sizeof(sent))
				host_limit = sizeof(sent);
			uart16550_drained(&uart);
		}
		while (irq4.level) {
			uint8_t iir = in8(IIR);

			spurious += iir & 1;
			/* one byte at a time, only while it can go on */
			if ((in8(LSR) & 0x21) != 0x21)
				break;
			out8(RBR, in8(RBR));
		}
		rig_advance(50000);
	}
	ok(sent_len == sizeof(expect) && memcmp(sent, expect, sizeof(expect)) == 0,
	   "3000 bytes echoed, none lost, none twice: %zu", sent_len);
	is_u64(spurious, 0, "never an interrupt without a cause");
}

int main(void)
{
	test_probe();
	test_fifo_size();
	test_thre();
	test_host_behind();
	test_receive();
	test_timeout();
	test_line_and_modem();
	test_fifo_corners();
	test_echo();
	return tap_done();
}
