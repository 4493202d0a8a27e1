/* SPDX-License-Identifier: BSD-2-Clause */
/* The real-time clock's registers as seconds since 1970, against the C library's calendar. */
// links: arch/x86/rtc.c

#include "arch/x86/rtc.h"
#include "tests/tap.h"

#include <stdlib.h>
#include <time.h>

#define BINARY	0x04
#define HOURS24 0x02

static uint8_t digits(unsigned v, uint8_t status_b)
{
	return (uint8_t)(status_b & BINARY ? v : v / 10 * 16 + v % 10);
}

static struct rtc_registers encode(int64_t seconds, uint8_t status_b, bool century)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	unsigned h, year;

	if (!gmtime_r(&t, &tm))
		abort();
	h = (unsigned)tm.tm_hour;
	year = (unsigned)tm.tm_year + 1900;
	struct rtc_registers r = {
		.seconds = digits((unsigned)tm.tm_sec, status_b),
		.minutes = digits((unsigned)tm.tm_min, status_b),
		.hours = digits(status_b & HOURS24 ? h : (h + 11) % 12 + 1, status_b),
		.day = digits((unsigned)tm.tm_mday, status_b),
		.month = digits((unsigned)tm.tm_mon + 1, status_b),
		.year = digits(year % 100, status_b),
		.century = century ? digits(year / 100, status_b) : 0,
		.status_b = status_b,
	};
	if (!(status_b & HOURS24) && h >= 12)
		r.hours |= 0x80;
	return r;
}

static void test_calendar(void)
{
	size_t bad = 0;

	for (unsigned mode = 0; mode < 4; mode++) {
		uint8_t status_b = (uint8_t)(mode * 2);

		/* Every 5 h 17 min 3 s from 1970 to 2069. */
		for (int64_t t = 0; t < 3124224000; t += 19023) {
			struct rtc_registers with = encode(t, status_b, true);
			struct rtc_registers without = encode(t, status_b, false);

			bad += rtc_decode(&with) != (uint64_t)t;
			bad += rtc_decode(&without) != (uint64_t)t;
		}
	}
	is_u64(bad, 0,
	       "a hundred years, binary and BCD, 12 and 24 hours, with and without century");
	struct rtc_registers far = encode(9214646399, BINARY | HOURS24, true);
	is_u64(rtc_decode(&far), 9214646399, "the last second of 2261");
}

static void test_nonsense(void)
{
	const struct rtc_registers good = encode(1000000000, BINARY | HOURS24, true);
	struct rtc_registers r;
	uint8_t *field[] = {&r.seconds, &r.minutes, &r.hours, &r.day, &r.month, &r.year};
	static const uint8_t limit[] = {60, 60, 24, 31, 13, 100};

	for (size_t i = 0; i < sizeof(limit); i++) {
		r = good;
		*field[i] = limit[i];
		ok(rtc_decode(&r) == 0, "register %zu at %u is no date", i, limit[i]);
		*field[i] = 0xff;
		ok(rtc_decode(&r) == 0, "register %zu at 255 is no date", i);
	}
	r = good;
	r.day = 0;
	ok(rtc_decode(&r) == 0, "day 0");
	r = good;
	r.month = 0;
	ok(rtc_decode(&r) == 0, "month 0");
	r = good;
	r.century = 19;
	r.year = 69;
	ok(rtc_decode(&r) == 0, "1969");
	r = (struct rtc_registers){0, 0, 0, 29, 2, 100 - 100, 21, BINARY | HOURS24};
	ok(rtc_decode(&r) == 0, "29 February 2100");
	r = (struct rtc_registers){0, 0, 0, 1, 1, 0, 0, BINARY};
	ok(rtc_decode(&r) == 0, "hour 0 on a 12-hour clock");
}

int main(void)
{
	test_calendar();
	test_nonsense();
	return tap_done();
}
