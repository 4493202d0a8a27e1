/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8254's channels as functions of time. References are to Intel's data sheet 231164. */
#include "vm/dev/i8254.h"

#include "lib/string.h"
#include "lib/util.h"

#define NS_PER_SEC 1000000000ULL
#define NO_EDGE	   (-1)

/*
 * Edges of channel 0 nearer than this are merged: a guest that asks for a megahertz gets 20 kHz,
 * and the machine stays usable for the others.
 */
#define MIN_EDGE_DISTANCE 60 /* ticks, about 50 us */

/* Port 0x61, as in the PC AT and every chipset since. */
#define PORT61_GATE2   0x01u
#define PORT61_STORED  0x0fu
#define PORT61_REFRESH 0x10u
#define PORT61_OUT2    0x20u
#define REFRESH_TICKS  18 /* the count PCs give channel 1: a refresh every 15 us */

/* Control word (page 5) and read-back command (page 8). */
#define CW_SELECT(cw) ((cw) >> 6)
#define CW_ACCESS(cw) (((cw) >> 4) & 3u)
#define CW_MODE(cw)   (((cw) >> 1) & 7u)
#define CW_BCD	      0x01u
#define READ_BACK     3u
#define RB_NO_COUNT   0x20u
#define RB_NO_STATUS  0x10u
#define STATUS_OUT    0x80u
#define STATUS_NULL   0x40u

static int64_t ns_to_tick(uint64_t ns)
{
	/* Seconds and rest apart: exact, and no product exceeds 64 bits. */
	return (int64_t)(ns / NS_PER_SEC * I8254_HZ + ns % NS_PER_SEC * I8254_HZ / NS_PER_SEC);
}

/* The first nanosecond at which ns_to_tick gives `tick`. */
static uint64_t tick_to_ns(int64_t tick)
{
	uint64_t t = (uint64_t)tick;

	return t / I8254_HZ * NS_PER_SEC + (t % I8254_HZ * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ;
}

static int64_t tick_now(const struct i8254 *pit)
{
	return ns_to_tick(vtimer_now(&pit->timer));
}

static int64_t max_i64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static bool is_periodic(const struct i8254_channel_state *ch)
{
	return ch->mode == 2 || ch->mode == 3;
}

static bool needs_trigger(const struct i8254_channel_state *ch)
{
	return ch->mode == 1 || ch->mode == 5;
}

/* Ticks that the output of mode 3 is high in each period: the odd one out is a high one. */
static int64_t high_ticks(uint32_t period)
{
	return (period + 1) / 2;
}

/* Ticks counted since the counter was loaded; -1 in the tick of loading itself. */
static int64_t elapsed(const struct i8254_channel_state *ch, int64_t now)
{
	return ch->counting ? now - ch->start : ch->held;
}

static void load_counter(struct i8254_channel_state *ch, int64_t at)
{
	ch->period = ch->count;
	ch->start = at;
	ch->held = 0;
	ch->pending = false;
}

/* Lets the count register take effect if its time has come (modes 2 and 3: a period has ended). */
static void advance(struct i8254_channel_state *ch, int64_t now)
{
	bool low_half;

	if (!ch->pending || now < ch->switch_at)
		return;
	/* Mode 3 takes a new count at the end of either half; a high one is followed by a low one.
	 */
	low_half =
		ch->mode == 3 && (ch->switch_at - ch->start) % ch->period == high_ticks(ch->period);
	load_counter(ch, ch->switch_at);
	if (low_half)
		ch->start -= high_ticks(ch->period);
}

static bool output(const struct i8254_channel_state *ch, int64_t now)
{
	int64_t d = elapsed(ch, now), n = ch->period;

	if (ch->period == 0)
		return ch->mode != 0;
	switch (ch->mode) {
	case 0:
		return d >= n;
	case 1:
		return !ch->triggered || d < 0 || d >= n;
	case 2:
		return !ch->gate || d < 0 || d % n != n - 1;
	case 3:
		return !ch->gate || d < 0 || d % n < high_ticks(ch->period);
	case 4:
		return d != n;
	default:
		return !ch->triggered || d != n;
	}
}

/* The counter as a guest reads it (page 7): down from the count, by two in mode 3. */
static uint16_t counter(const struct i8254_channel_state *ch, int64_t now)
{
	uint32_t wrap = ch->bcd ? 10000 : 65536, value;
	int64_t d = elapsed(ch, now), n = ch->period;

	if (ch->period == 0 || d < 0)
		d = 0;
	if (ch->mode == 2 && n != 0) {
		value = (uint32_t)(n - d % n);
	} else if (ch->mode == 3 && n != 0) {
		d %= n;
		if (d >= high_ticks(ch->period))
			d -= high_ticks(ch->period);
		value = (uint32_t)((n & ~1LL) - 2 * d);
	} else {
		value = (uint32_t)((n - d % wrap + wrap) % wrap);
	}
	value %= wrap;
	if (ch->bcd)
		value = value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
			value % 10;
	return (uint16_t)value;
}

/* The tick of the next rising edge after `now`, or NO_EDGE. The channel is up to date at `now`. */
static int64_t next_rise(const struct i8254_channel_state *channel, int64_t now)
{
	struct i8254_channel_state ch = *channel;
	int64_t n = ch.period, d = elapsed(&ch, now);

	if (n == 0 || !ch.counting || (needs_trigger(&ch) && !ch.triggered))
		return NO_EDGE;
	if (!is_periodic(&ch)) {
		int64_t rise = ch.start + n + (ch.mode >= 4);

		return rise > now ? rise : NO_EDGE;
	}
	if (ch.pending && ch.switch_at != INT64_MAX) {
		/* The count changes at the end of this half or period; what follows has the new
		 * one. */
		int64_t at = ch.switch_at;
		bool was_low = !output(&ch, at - 1);

		advance(&ch, at);
		if (was_low && output(&ch, at))
			return at;
		return ch.start + ch.period;
	}
	if (n == 1) /* not a legal count: the output does not move */
		return NO_EDGE;
	return d < 0 ? ch.start + n : now - d % n + n;
}

/* Brings everything to `now`: counts that took effect, edges that channel 0 has made. */
static void sync(struct i8254 *pit, int64_t now)
{
	for (unsigned i = 0; i < I8254_CHANNELS; i++)
		advance(&pit->s.ch[i], now);
	if (pit->s.next_edge != NO_EDGE && pit->s.next_edge <= now) {
		/* Several edges since the last look are one interrupt, as with interrupts off. */
		irq_line_set(&pit->irq, false);
		irq_line_set(&pit->irq, true);
		pit->s.next_edge = NO_EDGE;
	}
}

/* After channel 0 has changed: its line, and the timer for the next edge. */
static void update_irq(struct i8254 *pit, int64_t now)
{
	int64_t edge = next_rise(&pit->s.ch[0], now);

	irq_line_set(&pit->irq, output(&pit->s.ch[0], now));
	if (edge == pit->s.next_edge) /* the timer is set for it */
		return;
	pit->s.next_edge = edge;
	if (edge == NO_EDGE) {
		vtimer_set(&pit->timer, VCLOCK_NEVER);
		return;
	}
	if (is_periodic(&pit->s.ch[0]) && edge < now + MIN_EDGE_DISTANCE)
		edge = now + MIN_EDGE_DISTANCE;
	vtimer_set(&pit->timer, tick_to_ns(edge));
}

static void edge_due(struct timer *t)
{
	struct i8254 *pit = container_of(t, struct i8254, timer.timer);
	int64_t now;

	spin_lock(&pit->lock);
	now = tick_now(pit);
	if (pit->s.next_edge != NO_EDGE && pit->s.next_edge <= now) {
		sync(pit, now);
		update_irq(pit, now);
	}
	spin_unlock(&pit->lock);
}

static void write_control(struct i8254_channel_state *ch, uint8_t cw)
{
	ch->mode = CW_MODE(cw) & (CW_MODE(cw) >= 6 ? 3 : 7); /* 6 and 7 are 2 and 3 */
	ch->access = CW_ACCESS(cw);
	ch->bcd = cw & CW_BCD;
	ch->period = 0;
	ch->pending = false;
	ch->counting = false;
	ch->triggered = false;
	ch->held = 0;
	ch->write_high = false;
	ch->read_high = false;
	ch->latched_left = 0;
	ch->status_latched = false;
}

/* Null count: what was written is not what counts yet (page 9). */
static uint8_t status(const struct i8254_channel_state *ch, int64_t now)
{
	bool null = ch->period == 0 || ch->pending || elapsed(ch, now) < 0;

	return (uint8_t)((output(ch, now) ? STATUS_OUT : 0) | (null ? STATUS_NULL : 0) |
			 (unsigned)ch->access << 4 | (unsigned)ch->mode << 1 | ch->bcd);
}

static void latch_count(struct i8254_channel_state *ch, int64_t now)
{
	if (ch->latched_left != 0) /* the first latch holds until it has been read */
		return;
	ch->latched = counter(ch, now);
	ch->latched_left = ch->access == 3 ? 2 : 1;
}

static void read_back(struct i8254 *pit, uint8_t cmd, int64_t now)
{
	for (unsigned i = 0; i < I8254_CHANNELS; i++) {
		struct i8254_channel_state *ch = &pit->s.ch[i];

		if (!(cmd & (2u << i)))
			continue;
		if (!(cmd & RB_NO_COUNT))
			latch_count(ch, now);
		if (!(cmd & RB_NO_STATUS) && !ch->status_latched) {
			ch->status = status(ch, now);
			ch->status_latched = true;
		}
	}
}

/* From the binary or BCD count register to a number of ticks; 0 is the longest count. */
static uint32_t decode_count(uint16_t raw, bool bcd)
{
	uint32_t v = raw;

	if (bcd)
		v = (raw >> 12) * 1000u + (raw >> 8 & 15u) * 100 + (raw >> 4 & 15u) * 10 +
		    (raw & 15u);
	if (v == 0)
		return bcd ? 10000 : 65536;
	return v;
}

/* When a running periodic channel will take a new count (pages 11 and 12). */
static int64_t switch_tick(const struct i8254_channel_state *ch, int64_t now)
{
	int64_t n = ch->period, d = elapsed(ch, now), high = high_ticks(ch->period), at;

	if (!ch->counting)
		return INT64_MAX; /* the gate's rising edge loads it */
	at = d < 0 ? ch->start : now - d % n;
	if (ch->mode == 3 && (d < 0 || d % n < high))
		return at + high;
	return at + n;
}

static void write_count(struct i8254_channel_state *ch, uint16_t raw, int64_t now)
{
	ch->count = decode_count(raw, ch->bcd);
	if (needs_trigger(ch)) {
		ch->pending = true;
		ch->switch_at = INT64_MAX;
	} else if (is_periodic(ch) && ch->period != 0) {
		ch->switch_at = switch_tick(ch, now);
		ch->pending = true;
	} else {
		/* Loaded by the next clock whatever the gate says; the gate lets it count. */
		load_counter(ch, now + 1);
		ch->counting = ch->gate;
	}
}

static void write_counter_byte(struct i8254_channel_state *ch, uint8_t val, int64_t now)
{
	if (ch->access == 1) {
		write_count(ch, val, now);
	} else if (ch->access == 2) {
		write_count(ch, (uint16_t)(val << 8), now);
	} else if (ch->write_high) {
		ch->write_high = false;
		write_count(ch, (uint16_t)(val << 8 | ch->low), now);
	} else {
		ch->write_high = true;
		ch->low = val;
		if (ch->mode == 0) { /* counting stops and the output falls (page 10) */
			ch->period = 0;
			ch->counting = false;
		}
	}
}

static uint8_t read_counter_byte(struct i8254_channel_state *ch, int64_t now)
{
	uint16_t value;
	bool high;

	if (ch->status_latched) {
		ch->status_latched = false;
		return ch->status;
	}
	value = ch->latched_left != 0 ? ch->latched : counter(ch, now);
	high = ch->access == 2 || (ch->access == 3 && ch->read_high);
	if (ch->access == 3)
		ch->read_high = !ch->read_high;
	if (ch->latched_left != 0)
		ch->latched_left--;
	return (uint8_t)(high ? value >> 8 : value);
}

/* Page 14, "Gate pin operations". */
static void set_gate(struct i8254_channel_state *ch, bool gate, int64_t now)
{
	if (ch->gate == gate)
		return;
	if (needs_trigger(ch)) {
		if (gate && (ch->pending || ch->period != 0)) {
			load_counter(ch, now + 1);
			ch->counting = true;
			ch->triggered = true;
		}
	} else if (!gate) {
		if (ch->counting)
			ch->held = now > ch->start ? now - ch->start : 0;
		ch->counting = false;
		ch->switch_at = INT64_MAX;
	} else if (ch->period != 0) {
		if (is_periodic(ch))
			load_counter(ch, now + 1);
		else
			ch->start = max_i64(ch->start, now - ch->held); /* not before its load */
		ch->counting = true;
	}
	ch->gate = gate;
}

static uint64_t i8254_io_read(void *dev, uint64_t off, unsigned size)
{
	struct i8254 *pit = dev;
	uint8_t val;
	int64_t now;

	(void)size;
	if (off >= I8254_CHANNELS)
		return 0xff; /* the control word cannot be read */
	spin_lock(&pit->lock);
	now = tick_now(pit);
	sync(pit, now);
	val = read_counter_byte(&pit->s.ch[off], now);
	update_irq(pit, now);
	spin_unlock(&pit->lock);
	return val;
}

static void i8254_io_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct i8254 *pit = dev;
	uint8_t byte = (uint8_t)val;
	int64_t now;

	(void)size;
	spin_lock(&pit->lock);
	now = tick_now(pit);
	sync(pit, now);
	if (off < I8254_CHANNELS)
		write_counter_byte(&pit->s.ch[off], byte, now);
	else if (CW_SELECT(byte) == READ_BACK)
		read_back(pit, byte, now);
	else if (CW_ACCESS(byte) == 0)
		latch_count(&pit->s.ch[CW_SELECT(byte)], now);
	else
		write_control(&pit->s.ch[CW_SELECT(byte)], byte);
	update_irq(pit, now);
	spin_unlock(&pit->lock);
}

static uint64_t port61_read(void *dev, uint64_t off, unsigned size)
{
	struct i8254 *pit = dev;
	unsigned val;
	int64_t now;

	(void)off;
	(void)size;
	spin_lock(&pit->lock);
	now = tick_now(pit);
	advance(&pit->s.ch[2], now);
	val = pit->s.speaker;
	if (now / REFRESH_TICKS & 1)
		val |= PORT61_REFRESH;
	if (output(&pit->s.ch[2], now))
		val |= PORT61_OUT2;
	spin_unlock(&pit->lock);
	return val;
}

static void port61_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct i8254 *pit = dev;
	int64_t now;

	(void)off;
	(void)size;
	spin_lock(&pit->lock);
	now = tick_now(pit);
	advance(&pit->s.ch[2], now);
	pit->s.speaker = (uint8_t)(val & PORT61_STORED);
	set_gate(&pit->s.ch[2], val & PORT61_GATE2, now);
	spin_unlock(&pit->lock);
}

const struct io_ops i8254_ops = {.read = i8254_io_read, .write = i8254_io_write, .max_size = 1};
const struct io_ops port61_ops = {.read = port61_read, .write = port61_write, .max_size = 1};

void i8254_init(struct i8254 *pit, const struct vclock *clock, const struct irq_line *irq)
{
	memset(pit, 0, sizeof(*pit));
	pit->lock = (struct spinlock)SPINLOCK_INIT;
	pit->irq = *irq;
	vtimer_init(&pit->timer, clock, edge_due);
}

void i8254_reset(struct i8254 *pit)
{
	spin_lock(&pit->lock);
	memset(&pit->s, 0, sizeof(pit->s));
	pit->s.version = I8254_STATE_VERSION;
	for (unsigned i = 0; i < I8254_CHANNELS; i++) {
		/* The data sheet leaves it undefined: idle, outputs high, so that nothing rises. */
		pit->s.ch[i].mode = 3;
		pit->s.ch[i].access = 3;
		pit->s.ch[i].gate = i != 2;
	}
	pit->s.next_edge = NO_EDGE;
	vtimer_set(&pit->timer, VCLOCK_NEVER);
	irq_line_set(&pit->irq, true);
	spin_unlock(&pit->lock);
}

void i8254_pause(struct i8254 *pit)
{
	vtimer_pause(&pit->timer, &pit->lock);
}

void i8254_resume(struct i8254 *pit)
{
	spin_lock(&pit->lock);
	vtimer_resume(&pit->timer);
	spin_unlock(&pit->lock);
}
