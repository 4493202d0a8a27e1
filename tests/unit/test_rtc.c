/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real-time clock: its calendar against the C library's, register formats, setting it as
 * kernels do, the three interrupts, and what a BIOS leaves in CMOS.
 */
// links: vm/dev/rtc.c vm/clock.c vm/timer.c
#include "vm/dev/rtc.h"

#include <stdlib.h>
#include <time.h>

#include "lib/util.h"
#include "tests/host/devrig.h"
#include "tests/tap.h"

#define NS_PER_SEC 1000000000ULL
#define START	   1774828798ULL /* 2026-03-29 23:59:58 UTC, a Sunday */

static struct rtc rtc;
static struct rig_line irq8;

static uint8_t get(uint8_t index)
{
	rtc_ops.write(&rtc, 0, 1, index);
	return (uint8_t)rtc_ops.read(&rtc, 1, 1);
}

static void set(uint8_t index, uint8_t val)
{
	rtc_ops.write(&rtc, 0, 1, index);
	rtc_ops.write(&rtc, 1, 1, val);
}

static void setup(uint64_t sec)
{
	struct irq_line line = rig_line(&irq8);

	irq8 = (struct rig_line){0};
	rig_reset();
	rtc_init(&rtc, &rig_clock, &line, 512 * MIB, 0);
	rtc_reset(&rtc, sec * NS_PER_SEC);
}

static unsigned bcd(uint8_t v)
{
	return (v >> 4) * 10u + (v & 15u);
}

/* Seconds since 1970 that the registers show, in BCD and 24 h, read as an operating system would.
 */
static uint64_t read_clock(unsigned *weekday)
{
	struct tm tm = {
		.tm_sec = (int)bcd(get(0)),
		.tm_min = (int)bcd(get(2)),
		.tm_hour = (int)bcd(get(4)),
		.tm_mday = (int)bcd(get(7)),
		.tm_mon = (int)bcd(get(8)) - 1,
		.tm_year = (int)(bcd(get(0x32)) * 100 + bcd(get(9))) - 1900,
	};

	*weekday = bcd(get(6));
	return (uint64_t)timegm(&tm);
}

static void test_calendar(void)
{
	unsigned wrong = 0, wrong_day = 0, n = 0, weekday;

	/* Every day from 1970 to 2400, at a time of day that changes. */
	for (uint64_t sec = 0; sec < 430ULL * 365 * 86400; sec += 86400 - 7, n++) {
		time_t t = (time_t)sec;
		struct tm *tm = gmtime(&t);

		setup(sec);
		wrong += read_clock(&weekday) != sec;
		wrong_day += weekday != (unsigned)tm->tm_wday + 1;
	}
	ok(wrong == 0, "date and time right for %u days", n);
	ok(wrong_day == 0, "weekday too");
}

static void test_running(void)
{
	unsigned weekday;

	setup(START);
	is_u64(read_clock(&weekday), START, "starts at the wall clock");
	is_u64(weekday, 1, "a Sunday");
	rig_advance(NS_PER_SEC - 1);
	is_u64(read_clock(&weekday), START, "not a nanosecond early");
	rig_advance(1);
	is_u64(read_clock(&weekday), START + 1, "one second later");
	rig_advance(NS_PER_SEC);
	is_u64(read_clock(&weekday), START + 2, "midnight");
	is_u64(weekday, 2, "Monday");
	ok(rig_next_timer() == UINT64_MAX, "a clock that interrupts nobody needs no timer");
	is_u64(get(0x0d), 0x80, "register D: valid");
	is_u64(rtc_ops.read(&rtc, 0, 1), 0xff, "the index reads as ones");
	rtc_ops.write(&rtc, 0, 1, 0x80);
	is_u64(rtc_ops.read(&rtc, 1, 1), get(0), "the NMI bit is not part of the index");
}

static void test_formats(void)
{
	static const uint8_t hour12[24] = {0x12, 1,    2,    3,	   4,	 5,    6,    7,
					   8,	 9,    0x10, 0x11, 0x92, 0x81, 0x82, 0x83,
					   0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x90, 0x91};
	unsigned wrong = 0, wrong_binary = 0, wrong_set = 0, weekday;

	for (unsigned h = 0; h < 24; h++) {
		setup(START - START % 86400 + h * 3600);
		set(0x0b, 0x00);
		wrong += get(4) != hour12[h];
		set(0x0b, 0x04);
		wrong_binary += get(4) != ((h + 11) % 12 + 1) + (h >= 12 ? 0x80 : 0);
		set(0x0b, 0x06);
		wrong_binary += get(4) != h || get(7) != 29 || get(9) != 26 || get(0x32) != 20;
		set(0x0b, 0x00);
		set(4, hour12[(h + 5) % 24]);
		set(0x0b, 0x02);
		wrong_set += read_clock(&weekday) != START - START % 86400 + (h + 5) % 24 * 3600;
	}
	ok(wrong == 0, "12 hour clock");
	ok(wrong_binary == 0, "binary mode");
	ok(wrong_set == 0, "an hour written in 12 h format reads back in 24 h");
}

/* The sequence of Linux's mc146818_set_time. */
static void os_sets_clock(const uint8_t regs[7])
{
	uint8_t b = get(0x0b), a;

	set(0x0b, b | 0x80);
	a = get(0x0a);
	set(0x0a, a | 0x70);
	set(9, regs[0]);
	set(8, regs[1]);
	set(7, regs[2]);
	set(4, regs[3]);
	set(2, regs[4]);
	set(0, regs[5]);
	set(0x32, regs[6]);
	set(0x0b, b);
	set(0x0a, a);
}

static void test_setting(void)
{
	static const uint8_t regs[7] = {0x31, 0x12, 0x31, 0x23, 0x59, 0x58, 0x20};
	const uint64_t target = 1956527998; /* 2031-12-31 23:59:58 */
	unsigned weekday;

	setup(START);
	rig_advance(300000000);
	os_sets_clock(regs);
	is_u64(read_clock(&weekday), target, "set");
	rig_advance(NS_PER_SEC / 2 - 1);
	is_u64(read_clock(&weekday), target, "after a divider reset the first update comes");
	rig_advance(1);
	is_u64(read_clock(&weekday), target + 1, "half a second later");
	rig_advance(NS_PER_SEC);
	is_u64(read_clock(&weekday), target + 2, "into the new year");
	rtc_reset(&rtc, (START + 100) * NS_PER_SEC);
	is_u64(read_clock(&weekday), target + 100, "a reset keeps the difference");

	setup(START);
	set(0x0b, 0x82);
	rig_advance(10 * NS_PER_SEC);
	is_u64(read_clock(&weekday), START, "SET: the registers stand still");
	ok(!(get(0x0a) & 0x80), "and no update is in progress");
	set(0, 0x30);
	rig_advance(NS_PER_SEC / 4);
	set(0x0b, 0x02);
	is_u64(bcd(get(0)), 30, "what was written is the time when SET goes");
	rig_advance(NS_PER_SEC * 3 / 4 - 1);
	is_u64(bcd(get(0)), 30, "the divider chain ran on behind SET");
	rig_advance(1);
	is_u64(bcd(get(0)), 31, "so the second ends where it would have");

	setup(START);
	rig_advance(400000000);
	set(2, 0x10); /* without SET, as old systems do */
	is_u64(read_clock(&weekday), START - 59 * 60 + 10 * 60, "one register written live");
	set(6, 4);
	rig_advance(86400 * NS_PER_SEC);
	is_u64(get(6), 5, "the weekday is a counter of its own");
}

static void test_bad_values(void)
{
	unsigned weekday;

	setup(START);
	set(0x0b, 0x82);
	for (uint8_t i = 0; i < 10; i++)
		set(i, 0xff);
	set(0x32, 0xff);
	set(0x0b, 0x02);
	ok(read_clock(&weekday) >= 13569465600ULL - 366 * 86400ULL, "nonsense becomes a late date");
	rig_advance(NS_PER_SEC);
	set(0x0b, 0x82);
	for (uint8_t i = 0; i < 10; i++)
		set(i, 0);
	set(0x32, 0);
	set(0x0b, 0x02);
	is_u64(read_clock(&weekday) / 86400, 0, "zeros become 1970-01-01");
	rtc_reset(&rtc, (START + 100) * NS_PER_SEC);
	is_u64(read_clock(&weekday), 99, "a difference of that size survives a reset");
}

static void test_uip(void)
{
	setup(START);
	rig_advance(NS_PER_SEC - 244001);
	ok(!(get(0x0a) & 0x80), "no update in progress");
	rig_advance(1);
	ok(get(0x0a) & 0x80, "UIP 244 us before");
	rig_advance(243999);
	ok(get(0x0a) & 0x80, "to the last nanosecond");
	rig_advance(1);
	ok(!(get(0x0a) & 0x80) && bcd(get(0)) == 59, "and not after");
}

static void test_update_interrupt(void)
{
	setup(START);
	rig_advance(300000000);
	set(0x0b, 0x12);
	rig_advance(699999999);
	ok(!irq8.level, "update-ended interrupt: not early");
	rig_advance(1);
	ok(irq8.level, "at the second");
	rig_advance(5 * NS_PER_SEC);
	ok(irq8.rises == 1 && rig_timers_run == 1, "one until register C is read, one timer");
	is_u64(get(0x0c), 0x80 | 0x40 | 0x20 | 0x10,
	       "IRQF, PF (1024 Hz runs), AF (the alarm stands at midnight) and UF");
	ok(!irq8.level, "reading C withdraws it");
	is_u64(get(0x0c), 0, "and clears it");
	rig_advance(NS_PER_SEC);
	ok(irq8.rises == 2, "next second, next interrupt");
	set(0x0b, 0x92);
	is_u64(get(0x0b), 0x82, "SET clears UIE");
	ok(!irq8.level, "and with it the line");
}

static void test_periodic(void)
{
	static const unsigned hz[16] = {0,   256, 128, 8192, 4096, 2048, 1024, 512,
					256, 128, 64,  32,   16,   8,	 4,    2};
	unsigned wrong = 0;

	for (uint8_t rate = 0; rate < 16; rate++) {
		unsigned n = 0;

		setup(START);
		set(0x0a, 0x20 | rate);
		get(0x0c);
		set(0x0b, 0x42);
		for (unsigned i = 0; i < 100000; i++) {
			rig_advance(10000);
			if (irq8.level) {
				n++;
				wrong += get(0x0c) != 0xc0 && i != 99999;
			}
		}
		ok(n == hz[rate], "rate %u: %u interrupts in a second", rate, n);
	}
	ok(wrong == 0, "each with PF alone");

	setup(START);
	set(0x0a, 0x70); /* divider reset */
	set(0x0b, 0x42);
	rig_advance(NS_PER_SEC);
	ok(!irq8.level && rig_next_timer() == UINT64_MAX, "a divider in reset is silent");
}

static void test_alarm(void)
{
	unsigned n = 0;

	setup(START); /* 23:59:58 */
	set(1, 0x05);
	set(3, 0x00);
	set(5, 0x00);
	get(0x0c);
	set(0x0b, 0x22);
	is_u64(rig_next_timer(), 7 * NS_PER_SEC, "the timer waits for 00:00:05");
	rig_advance(7 * NS_PER_SEC - 1);
	ok(!irq8.level, "not early");
	rig_advance(1);
	ok(irq8.level, "alarm");
	is_u64(get(0x0c) & 0xb0, 0xb0, "AF, with UF beside it");
	is_u64(rig_next_timer(), (7 + 86400) * NS_PER_SEC, "then tomorrow");

	set(1, 0xff); /* every second */
	set(3, 0xff);
	set(5, 0xff);
	for (unsigned i = 0; i < 10; i++) {
		rig_advance(NS_PER_SEC);
		n += irq8.level;
		get(0x0c);
	}
	is_u64(n, 10, "don't care in all three: every second");
	set(1, 0x77);
	rig_advance(100000 * NS_PER_SEC);
	ok(!irq8.level, "an impossible second never comes");
	ok(rig_next_timer() == UINT64_MAX, "and nobody waits for it");

	setup(START);
	set(1, 0xff);
	set(3, 0x30);
	set(5, 0xff);
	rig_advance(1860 * NS_PER_SEC);
	is_u64(get(0x0c) & 0x30, 0x30, "polled: AF is seen without an interrupt");
	set(1, 0x00);
	set(5, 0x03);
	get(0x0c);
	set(0x0b, 0x20); /* 12 h: 3 is 3 am */
	rig_advance(86400 * NS_PER_SEC);
	ok(irq8.level, "an alarm in 12 hour format");
}

/* The alarm that comes next, against a search second by second. */
static void test_alarm_random(void)
{
	unsigned wrong = 0, polled = 0;

	srand(11);
	for (unsigned n = 0; n < 60; n++) {
		static const uint8_t part[3] = {1, 3, 5};
		unsigned want[3], day, wait = 0;

		setup(START - (unsigned)rand() % 200000);
		rig_advance((unsigned)rand() % NS_PER_SEC);
		for (unsigned i = 0; i < 3; i++) {
			want[i] = rand() % 3 == 0 ? 0xff : (unsigned)rand() % (i == 2 ? 24 : 60);
			set(part[i],
			    want[i] == 0xff ? 0xc0 : (uint8_t)(want[i] / 10 << 4 | want[i] % 10));
		}
		get(0x0c);
		set(0x0b, 0x22);
		day = bcd(get(4)) * 3600 + bcd(get(2)) * 60 + bcd(get(0));
		do {
			day = (day + 1) % 86400;
			wait++;
		} while ((want[0] != 0xff && want[0] != day % 60) ||
			 (want[1] != 0xff && want[1] != day / 60 % 60) ||
			 (want[2] != 0xff && want[2] != day / 3600));
		wrong += rig_next_timer() / NS_PER_SEC != wait;
		rig_advance((wait - 1) * NS_PER_SEC);
		set(0x0b, 0x02); /* then without an interrupt */
		polled += get(0x0c) & 0x20;
		rig_advance(NS_PER_SEC);
		polled += !(get(0x0c) & 0x20);
	}
	ok(wrong == 0, "60 random alarms wait for the right second");
	ok(polled == 0, "AF is clear a second before and set at it");
}

static void test_flags(void)
{
	setup(START);
	set(0x0a, 0x20);
	get(0x0c);
	rig_advance(5 * NS_PER_SEC);
	is_u64(get(0x0c) & 0x50, 0x10, "rate 0: no PF");
	set(0x0a, 0x2f); /* 2 Hz */
	rig_advance(499999999);
	is_u64(get(0x0c), 0, "2 Hz: nothing before half a second");
	rig_advance(1);
	is_u64(get(0x0c), 0x40, "then PF");
	rig_advance(NS_PER_SEC / 2);
	set(0x0b, 0x82);
	rig_advance(2 * NS_PER_SEC);
	is_u64(get(0x0c) & 0x50, 0x50, "what happened before SET is kept, PF goes on");
	rig_advance(2 * NS_PER_SEC);
	is_u64(get(0x0c), 0x40, "but no update ends");
}

static void test_pause(void)
{
	unsigned weekday;

	setup(START);
	set(0x0b, 0x12);
	vclock_stop(&rig_clock);
	rtc_pause(&rtc);
	rig_advance(50 * NS_PER_SEC);
	ok(!irq8.level && read_clock(&weekday) == START, "a paused VM's clock stands");
	vclock_start(&rig_clock);
	rtc_resume(&rtc);
	rig_advance(NS_PER_SEC);
	ok(irq8.level && read_clock(&weekday) == START + 1, "and goes on");
	rtc_reset(&rtc, START * NS_PER_SEC);
	ok(!irq8.level && get(0x0b) == 0x02 && rig_next_timer() == UINT64_MAX,
	   "reset turns interrupts off");
}

static void test_cmos(void)
{
	const struct irq_line none = {0};
	unsigned sum = 0;

	setup(START);
	is_u64(get(0x15) | (unsigned)get(0x16) << 8, 640, "base memory, KiB");
	is_u64(get(0x17) | (unsigned)get(0x18) << 8, 65535, "extended memory, as much as fits");
	is_u64(get(0x34) | (unsigned)get(0x35) << 8, 496 * 16, "above 16 MiB, in 64 KiB");
	is_u64(get(0x5b) | get(0x5c) | get(0x5d), 0, "none above 4 GiB");
	for (uint8_t i = 0x10; i <= 0x2d; i++)
		sum += get(i);
	is_u64(get(0x2e) * 256u + get(0x2f), sum, "checksum");
	is_u64(get(0x10), 0, "no floppy");
	set(0x0f, 0x0a);
	set(0x7f, 0x55);
	rtc_reset(&rtc, START * NS_PER_SEC);
	ok(get(0x0f) == 0x0a && get(0x7f) == 0x55, "CMOS survives a reset");

	rtc_init(&rtc, &rig_clock, &none, 3 * GIB, 5 * GIB);
	rtc_reset(&rtc, START * NS_PER_SEC);
	is_u64(get(0x34) | (unsigned)get(0x35) << 8, 3056 * 16, "3 GiB below 4 GiB");
	is_u64(get(0x5b) | (unsigned)get(0x5c) << 8 | (unsigned)get(0x5d) << 16, 5 * 16384,
	       "5 GiB above");
}

int main(void)
{
	test_calendar();
	test_running();
	test_formats();
	test_setting();
	test_bad_values();
	test_uip();
	test_update_interrupt();
	test_periodic();
	test_alarm();
	test_alarm_random();
	test_flags();
	test_pause();
	test_cmos();
	return tap_done();
}
