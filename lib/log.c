/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's log ring. Records are text lines in a byte ring; the oldest are overwritten
 * whole. */
#include "lib/log.h"

#include "lib/format.h"
#include "lib/spinlock.h"
#include "lib/string.h"

#include <stdarg.h>
#include <stdbool.h>

#define RING_SIZE 16384u /* power of two */

/* Each record is its stamped text and a terminating newline; head and tail never wrap in 64 bits.
 */
static struct {
	struct spinlock lock;
	char bytes[RING_SIZE];
	uint64_t head; /* next byte to write */
	uint64_t tail; /* first byte of the oldest whole record */
} ring = {.lock = SPINLOCK_INIT};

static log_sink_fn *sink;
static enum log_level sink_level = LOG_INFO;
static uint64_t (*clock)(void);

void log_set_sink(log_sink_fn *fn)
{
	sink = fn;
}

void log_set_level(enum log_level level)
{
	sink_level = level;
}

enum log_level log_get_level(void)
{
	return sink_level;
}

void log_set_clock(uint64_t (*now_ns)(void))
{
	clock = now_ns;
}

static char ring_at(uint64_t pos)
{
	return ring.bytes[pos % RING_SIZE];
}

/* Caller holds ring.lock. */
static void ring_put(char c)
{
	if (ring.head - ring.tail == RING_SIZE) {
		while (ring_at(ring.tail) != '\n')
			ring.tail++;
		ring.tail++;
	}
	ring.bytes[ring.head++ % RING_SIZE] = c;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	static const char cut[] = "...";
	char line[LOG_LINE_MAX + 1], stamp[32];
	uint64_t us = clock ? clock() / 1000 : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (n > LOG_LINE_MAX) {
		n = LOG_LINE_MAX;
		memcpy(line + n - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	}
	for (int i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?'; /* text may quote a guest: no control characters reach a
					  terminal */
	snprintf(stamp, sizeof(stamp), "[%5llu.%06llu] ", (unsigned long long)(us / 1000000),
		 (unsigned long long)(us % 1000000));
	spin_lock(&ring.lock);
	for (const char *p = stamp; *p; p++)
		ring_put(*p);
	for (int i = 0; i < n; i++)
		ring_put(line[i]);
	ring_put('\n');
	spin_unlock(&ring.lock);
	if (sink && level <= sink_level)
		sink(level, line, (size_t)n);
}

/* Copies the record at *pos, moves past it; false at the end. */
static bool ring_next(uint64_t *pos, char *line, size_t size, size_t *len)
{
	bool have;

	spin_lock(&ring.lock);
	if (*pos < ring.tail)
		*pos = ring.tail;
	have = *pos < ring.head;
	*len = 0;
	while (*pos < ring.head) {
		char c = ring_at((*pos)++);

		if (c == '\n')
			break;
		if (*len < size)
			line[(*len)++] = c;
	}
	spin_unlock(&ring.lock);
	return have;
}

void log_replay(void (*fn)(void *ctx, const char *line, size_t len), void *ctx)
{
	char line[LOG_LINE_MAX + 32];
	uint64_t pos = 0;
	size_t len;

	while (ring_next(&pos, line, sizeof(line), &len))
		fn(ctx, line, len);
}
