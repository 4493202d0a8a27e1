/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading the real-time clock. */
#include "arch/x86/rtc.h"

#include <stdbool.h>

#include "arch/x86/cpu.h"
#include "lib/string.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA  0x71

#define STATUS_A_UPDATE 0x80
#define STATUS_B_BINARY 0x04
#define STATUS_B_24H	0x02
#define HOURS_PM	0x80

static unsigned number(const struct rtc_registers *r, uint8_t v)
{
	return r->status_b & STATUS_B_BINARY ? v : (v >> 4) * 10U + (v & 15U);
}

static unsigned hours(const struct rtc_registers *r)
{
	unsigned h;

	if (r->status_b & STATUS_B_24H)
		return number(r, r->hours);
	h = number(r, r->hours & (uint8_t)~HOURS_PM);
	if (h < 1 || h > 12)
		return 24; /* no such hour */
	return h % 12 + (r->hours & HOURS_PM ? 12 : 0);
}

static bool is_leap(unsigned year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days from 1970-01-01 to the first of that month. */
static uint64_t days_before(unsigned year, unsigned month)
{
	static const uint16_t sum[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	uint64_t days = sum[month - 1] + (month > 2 && is_leap(year) ? 1U : 0U);

	for (unsigned y = 1970; y < year; y++)
		days += is_leap(y) ? 366 : 365;
	return days;
}

uint64_t rtc_decode(const struct rtc_registers *r)
{
	static const uint8_t length[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	unsigned s = number(r, r->seconds), min = number(r, r->minutes), h = hours(r);
	unsigned day = number(r, r->day), month = number(r, r->month), year = number(r, r->year);

	if (s > 59 || min > 59 || h > 23 || month < 1 || month > 12 || year > 99)
		return 0;
	if (day < 1 || day > length[month - 1])
		return 0;
	if (r->century)
		year += 100 * number(r, r->century);
	else
		year += year < 70 ? 2000 : 1900;
	if (year < 1970 || year > 2262) /* later ones do not fit signed nanoseconds */
		return 0;
	if (month == 2 && day == 29 && !is_leap(year))
		return 0;
	return ((days_before(year, month) + day - 1) * 24 + h) * 3600 + min * 60 + s;
}

/* Bit 7 of the index gates NMI; it stays off, as it was at power-on. */
static uint8_t cmos(uint8_t index)
{
	out8(CMOS_INDEX, index);
	return in8(CMOS_DATA);
}

static struct rtc_registers read_registers(uint8_t century)
{
	return (struct rtc_registers){
		.seconds = cmos(0),
		.minutes = cmos(2),
		.hours = cmos(4),
		.day = cmos(7),
		.month = cmos(8),
		.year = cmos(9),
		.century = century ? cmos(century) : 0,
		.status_b = cmos(0x0b),
	};
}

/* Twice the same outside an update: then no carry was under way. */
uint64_t rtc_read(uint8_t century_register)
{
	uint8_t century = century_register & 0x7f;
	struct rtc_registers a, b;

	if (cmos(0x0d) == 0xff && cmos(0x0b) == 0xff)
		return 0; /* nobody there */
	for (unsigned tries = 0; tries < 100; tries++) {
		for (unsigned i = 0; i < 100000 && cmos(0x0a) & STATUS_A_UPDATE; i++)
			cpu_relax();
		a = read_registers(century);
		b = read_registers(century);
		if (memcmp(&a, &b, sizeof(a)) == 0)
			return rtc_decode(&a);
	}
	return 0;
}
