/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The serial line, shared.
 *
 *	guest's UART -> its `out` ring --pump, when attached--\
 *	messages, monitor --------------------------------------> tx ring -> UART
 *	UART -> Ctrl-]? monitor? else the guest's `in` ring -> guest's UART
 *
 * A guest may fill only the first TX_GUEST bytes of the tx ring: a message or an echoed key is
 *never behind more than that, however much the guest has to say.
 */
#include "vm/console.h"

#include <stdarg.h>
#include <stdint.h>

#include "arch/hw.h"
#include "arch/machine.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/kalloc.h"
#include "vm/board.h"
#include "vm/monitor.h"
#include "vm/pcpu.h"
#include "vm/vm.h"

#define TX_SIZE	 32768u /* holds the whole log and a guest's ring without waiting */
#define TX_GUEST 512u
#define LIVE_MAX                                                                                   \
	1024u /* output an attached guest may have under way: what Ctrl-C cannot recall            \
	       */
#define LIVE_ROOM      32u   /* of it, so much room is worth telling a waiting guest */
#define INPUT_SIZE     1024u /* keys that wait for a guest */
#define INPUT_ROUND    256u  /* bytes of input taken in one round of the main loop */
#define STALL_NS       1000000000ull
#define INPUT_POLL_NS  20000000ull /* how often to look whether a slow guest takes keys again */
#define INPUT_PAUSE_NS 1000000ull
#define HELD_MAX       2048u

struct ring {
	char *bytes;
	uint32_t size;	     /* power of two */
	uint64_t head, tail; /* next to write, to read; never wrap */
};

struct guest_console {
	struct ring out, in;
	uint64_t dropped;  /* bytes of `out` overwritten since it was attached last */
	bool behind;	   /* the guest was told to wait: owed a board_console_drained */
	atomic_u32 keys;   /* `in` is not empty */
	uint64_t in_since; /* when the guest last took a key, or `in` ceased to be empty */
	char out_bytes[CONSOLE_RING];
	char in_bytes[INPUT_SIZE];
};

static char tx_bytes[TX_SIZE];

/* Messages that came while the monitor had printed a part of a line: they follow that line. Under
 * the console's lock. */
static struct {
	char text[HELD_MAX];
	size_t len;
} held;

/* Input, in_poll and changes of `attached` are the boot CPU's; the rest is under the lock. */
static struct {
	struct spinlock lock;
	struct ring tx;
	char last;	     /* the byte put into tx last */
	bool fresh;	     /* the cursor is on an empty line */
	struct vm *attached; /* NULL: the monitor is in front */
	struct timer in_poll;
} con;

/* --- rings ------------------------------------------------------------------------------------ */

static uint32_t ring_fill(const struct ring *r)
{
	return (uint32_t)(r->head - r->tail);
}

static uint32_t ring_room(const struct ring *r)
{
	return r->size - ring_fill(r);
}

static void ring_put(struct ring *r, char c)
{
	r->bytes[r->head++ & (r->size - 1)] = c;
}

static char ring_get(struct ring *r)
{
	return r->bytes[r->tail++ & (r->size - 1)];
}

/* The oldest bytes as far as they lie in one piece. */
static const char *ring_piece(const struct ring *r, size_t *n)
{
	uint32_t at = (uint32_t)(r->tail & (r->size - 1)), to_end = r->size - at;

	*n = ring_fill(r) < to_end ? ring_fill(r) : to_end;
	return r->bytes + at;
}

/* --- output; the caller holds the lock -------------------------------------------------------- */

/* Gives the UART what it takes now, and asks for a call when it would take more. */
static void drain(void)
{
	while (ring_fill(&con.tx) > 0) {
		size_t n, sent;
		const char *piece = ring_piece(&con.tx, &n);

		sent = machine_console_tx(piece, n);
		con.tx.tail += sent;
		if (sent == 0) {
			machine_console_tx_wait(true);
			return;
		}
	}
}

/* Waits until no more than `fill` bytes are under way. A UART that takes nothing for a second is
 * dead: what is under way is dropped rather than that the machine hangs. */
static void wait_for(uint32_t fill)
{
	uint64_t since = machine_now();

	while (ring_fill(&con.tx) > fill) {
		uint32_t before = ring_fill(&con.tx);

		drain();
		if (ring_fill(&con.tx) < before)
			since = machine_now();
		else if (machine_now() - since > STALL_NS)
			con.tx.tail = con.tx.head;
		else
			hw_relax();
	}
}

static void tx_byte(char c)
{
	if (ring_room(&con.tx) == 0)
		wait_for(TX_SIZE - 1);
	ring_put(&con.tx, c);
	con.last = c;
	con.fresh = c == '\n';
}

void console_put(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n' && con.last != '\r')
			tx_byte('\r');
		tx_byte(text[i]);
	}
	drain();
}

static void put_string(const char *s)
{
	console_put(s, strlen(s));
}

/* The guest's output goes out as it is, with at most `limit` bytes under way: until it is all out
 * or the UART is full, so that in either case somebody calls again when there is more to do. */
static void pump(struct guest_console *gc, uint32_t limit)
{
	while (ring_fill(&gc->out) > 0 && ring_fill(&con.tx) < limit) {
		while (ring_fill(&gc->out) > 0 && ring_fill(&con.tx) < limit)
			tx_byte(ring_get(&gc->out));
		drain();
	}
}

static void pump_all(struct guest_console *gc)
{
	while (ring_fill(&gc->out) > 0)
		tx_byte(ring_get(&gc->out));
	drain();
}

static void new_line_unless_fresh(void)
{
	if (!con.fresh)
		put_string("\n");
}

void console_lock(void)
{
	spin_lock(&con.lock);
}

void console_unlock(void)
{
	spin_unlock(&con.lock);
}

static void release_held(void)
{
	if (held.len == 0)
		return;
	new_line_unless_fresh();
	console_put(held.text, held.len);
	held.len = 0;
}

/* False: there is no room. */
static bool hold(const char *line, size_t len)
{
	if (held.len + len + 1 > sizeof(held.text))
		return false;
	memcpy(held.text + held.len, line, len);
	held.len += len;
	held.text[held.len++] = '\n';
	return true;
}

void console_write(const char *text, size_t len)
{
	console_lock();
	console_put(text, len);
	if (con.fresh)
		release_held();
	console_unlock();
}

void console_printf(const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n > 0)
		console_write(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

void console_flush(void)
{
	console_lock(); /* guests on other CPUs may be printing */
	wait_for(0);
	console_unlock();
}

/* The log's sink: a line of its own, wherever the cursor is and whoever is in front. */
static void log_line(enum log_level level, const char *line, size_t len)
{
	(void)level;
	console_lock();
	if (!con.attached && !con.fresh && monitor_executing() && hold(line, len)) {
		console_unlock();
		return;
	}
	if (!con.attached && monitor_hide())
		con.fresh = true;
	release_held();
	new_line_unless_fresh();
	console_put(line, len);
	put_string("\n");
	if (!con.attached)
		monitor_show();
	console_unlock();
}

/* --- a guest's end ---------------------------------------------------------------------------- */

struct guest_console *console_guest_create(void)
{
	struct guest_console *gc = kzalloc(sizeof(*gc));

	if (!gc)
		return NULL;
	gc->out = (struct ring){.bytes = gc->out_bytes, .size = sizeof(gc->out_bytes)};
	gc->in = (struct ring){.bytes = gc->in_bytes, .size = sizeof(gc->in_bytes)};
	return gc;
}

void console_guest_free(struct guest_console *gc)
{
	kfree(gc);
}

/* Attached: as much as may be under way. */
static size_t write_live(struct guest_console *gc, const char *data, size_t len)
{
	uint32_t fill = ring_fill(&gc->out);
	size_t room = fill < LIVE_MAX ? LIVE_MAX - fill : 0, n = len < room ? len : room;

	for (size_t i = 0; i < n; i++)
		ring_put(&gc->out, data[i]);
	if (n < len)
		gc->behind = true;
	pump(gc, TX_GUEST);
	return n;
}

/* Detached: all of it, over the oldest. */
static void write_kept(struct guest_console *gc, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (ring_room(&gc->out) == 0) {
			gc->out.tail++;
			gc->dropped++;
		}
		ring_put(&gc->out, data[i]);
	}
}

size_t console_guest_write(struct vm *vm, const char *data, size_t len)
{
	size_t taken = len;

	console_lock();
	if (con.attached == vm)
		taken = write_live(vm->console, data, len);
	else
		write_kept(vm->console, data, len);
	console_unlock();
	return taken;
}

void console_guest_room(struct vm *vm)
{
	if (atomic_load32(&vm->console->keys))
		pcpu_raise_on(PCPU_BOOT, PCPU_WORK_CONSOLE);
}

void console_guest_ended(struct vm *vm)
{
	struct guest_console *gc = vm->console;

	console_lock();
	if (con.attached == vm)
		pump_all(gc);
	gc->behind = false;
	console_unlock();
	gc->in.tail = gc->in.head;
	atomic_store32(&gc->keys, 0);
}

/* --- who is in front -------------------------------------------------------------------------- */

struct vm *console_attached(void)
{
	return con.attached;
}

/* Tells a guest that was told to wait that there is room; without the lock, which it takes again.
 */
static void notify_drained(struct vm *vm)
{
	bool owed;

	console_lock();
	/* Soon, at the first few bytes of room: drivers wait for their transmitter only so long. */
	owed = vm->console->behind &&
	       (con.attached != vm || ring_fill(&vm->console->out) <= LIVE_MAX - LIVE_ROOM);
	if (owed)
		vm->console->behind = false;
	console_unlock();
	if (owed)
		board_console_drained(vm);
}

/* The attached guest, if any, has the line no more; nobody is in front yet. */
static void let_go(bool hint)
{
	struct vm *vm = con.attached;
	char text[96];

	if (!vm)
		return;
	console_lock();
	new_line_unless_fresh();
	if (hint) {
		snprintf(text, sizeof(text), "[sluice: detached from %s]\n", vm->conf.name);
		put_string(text);
	}
	con.attached = NULL;
	console_unlock();
	notify_drained(vm);
}

void console_attach(struct vm *vm)
{
	char text[160];

	if (con.attached == vm)
		return;
	let_go(false);
	monitor_front(false);
	console_lock();
	release_held();
	new_line_unless_fresh();
	snprintf(text, sizeof(text), "[attached to %s: Ctrl-] returns to the monitor]\n",
		 vm->conf.name);
	put_string(text);
	if (vm->console->dropped > 0) {
		snprintf(text, sizeof(text), "[%llu earlier characters were dropped]\n",
			 (unsigned long long)vm->console->dropped);
		put_string(text);
		vm->console->dropped = 0;
	}
	con.attached = vm;
	pump(vm->console, TX_GUEST);
	console_unlock();
}

void console_replay(struct vm *vm)
{
	console_lock();
	pump_all(vm->console);
	new_line_unless_fresh();
	vm->console->dropped = 0;
	console_unlock();
}

void console_detach(bool hint)
{
	let_go(hint);
	monitor_front(true);
}

/* --- input ------------------------------------------------------------------------------------ */

/* Has the guest left its keys alone for so long that it does not listen? */
static bool is_deaf(const struct guest_console *gc)
{
	return machine_now() - gc->in_since > STALL_NS;
}

static void key_for_guest(struct vm *vm, char c)
{
	struct guest_console *gc = vm->console;

	if (c == CONSOLE_ESCAPE) {
		console_detach(true);
		return;
	}
	if (ring_room(&gc->in) == 0) {
		console_write("\a", 1);
		return;
	}
	if (ring_fill(&gc->in) == 0)
		gc->in_since = machine_now();
	ring_put(&gc->in, c);
	atomic_store32(&gc->keys, 1);
}

/* Passes on what the guest's UART has room for. */
static void pass_keys(struct vm *vm)
{
	struct guest_console *gc = vm->console;
	size_t room, n;

	while (ring_fill(&gc->in) > 0 && (room = board_console_room(vm)) > 0) {
		const char *piece = ring_piece(&gc->in, &n);

		n = n < room ? n : room;
		board_console_input(vm, piece, n);
		gc->in.tail += n;
		gc->in_since = machine_now();
	}
	atomic_store32(&gc->keys, ring_fill(&gc->in) > 0);
	/* The guest took its last key between our look and this store: look again soon. */
	if (ring_fill(&gc->in) > 0)
		timer_arm(&con.in_poll, machine_now() + INPUT_POLL_NS);
}

/* One byte of input; false: there is none, or it has to wait where it is. */
static bool take_input(void)
{
	struct vm *vm = con.attached;
	int c;

	/* The line's own flow control holds back who pastes a book into a slow guest. But a guest
	 * that does not listen at all must not keep Ctrl-] from us: then keys are dropped, with a
	 * bell. */
	if (vm && ring_room(&vm->console->in) == 0) {
		pass_keys(vm);
		if (ring_room(&vm->console->in) == 0 && !is_deaf(vm->console))
			return false;
	}
	c = machine_console_rx();
	if (c < 0)
		return false;
	if (vm)
		key_for_guest(vm, (char)c);
	else
		monitor_input((char)c);
	return true;
}

static void work_again(struct timer *t)
{
	(void)t;
	pcpu_raise(PCPU_WORK_CONSOLE);
}

void console_work(void)
{
	unsigned taken = 0;

	console_lock();
	if (con.attached)
		pump(con.attached->console, TX_GUEST);
	drain();
	console_unlock();
	if (con.attached)
		notify_drained(con.attached);
	while (taken < INPUT_ROUND && take_input())
		taken++;
	if (taken == INPUT_ROUND) /* there may be more, but guests get their turn first */
		timer_arm(&con.in_poll, machine_now() + INPUT_PAUSE_NS);
	for (struct vm *vm = vm_first(); vm; vm = vm_next(vm))
		if (ring_fill(&vm->console->in) > 0)
			pass_keys(vm);
}

void console_init(void)
{
	con.lock = (struct spinlock)SPINLOCK_INIT;
	con.tx = (struct ring){.bytes = tx_bytes, .size = TX_SIZE};
	con.last = '\n';
	con.fresh = true;
	con.attached = NULL;
	held.len = 0;
	timer_init(&con.in_poll, work_again);
	log_set_sink(log_line);
}
