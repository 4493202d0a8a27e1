/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MC146818A (Motorola data sheet ADI-1026). Nothing ticks: time and flags are computed when they
 * are looked at, and a timer runs only for an interrupt that is enabled and not yet pending.
 */
#include "vm/dev/rtc.h"

#include "lib/string.h"
#include "lib/util.h"

#define NS_PER_SEC  1000000000ULL
#define SEC_PER_DAY 86400ULL
#define CRYSTAL_HZ  32768ULL

/* CMOS indices */
#define REG_SECONDS	  0x00
#define REG_SECONDS_ALARM 0x01
#define REG_MINUTES	  0x02
#define REG_MINUTES_ALARM 0x03
#define REG_HOURS	  0x04
#define REG_HOURS_ALARM	  0x05
#define REG_WEEKDAY	  0x06 /* 1 is Sunday */
#define REG_DAY		  0x07
#define REG_MONTH	  0x08
#define REG_YEAR	  0x09
#define REG_A		  0x0a
#define REG_B		  0x0b
#define REG_C		  0x0c
#define REG_D		  0x0d

#define A_UIP	     0x80u
#define A_DIVIDER    0x70u
#define A_DIV_RESET  0x60u /* 110 and 111 hold the chain */
#define A_RATE	     0x0fu
#define A_POWER_ON   0x26u /* 32.768 kHz, periodic rate 1024 Hz: what a BIOS leaves */
#define B_SET	     0x80u
#define B_INTERRUPTS 0x70u /* PIE, AIE, UIE: the flags' positions in register C */
#define B_SQWE	     0x08u
#define B_BINARY     0x04u
#define B_24H	     0x02u
#define C_IRQF	     0x80u
#define C_PF	     0x40u
#define C_AF	     0x20u
#define C_UF	     0x10u
#define D_VALID	     0x80u
#define HOUR_PM	     0x80u
#define ALARM_ANY    0xc0u     /* both top bits: matches every value */
#define UIP_LEAD_NS  244000ULL /* UIP rises this long before an update */
#define HALF_SEC_NS  (NS_PER_SEC / 2)
#define NO_TIME	     UINT64_MAX

struct calendar {
	unsigned year, month, day;     /* month and day from 1 */
	unsigned hour, minute, second; /* 24 h */
	unsigned weekday;	       /* 0 is Sunday */
};

/* Days since 1970-01-01 of a date in the Gregorian calendar, year >= 1970, by counting leap days.
 */
static uint64_t days_of_date(unsigned year, unsigned month, unsigned day)
{
	static const uint16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	unsigned past = year - 1; /* the last year that is over */
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	uint64_t leaps = past / 4 - past / 100 + past / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);

	return (uint64_t)(year - 1970) * 365 + leaps + before[month - 1] + (leap && month > 2) +
	       day - 1;
}

static void calendar_of(uint64_t ns, struct calendar *c)
{
	uint64_t sec = ns / NS_PER_SEC, days = sec / SEC_PER_DAY;
	unsigned rest = (unsigned)(sec % SEC_PER_DAY);

	/* 365.2425 days a year: the estimate is at most one year off, either way. */
	c->year = 1970 + (unsigned)(days * 10000 / 3652425);
	while (days_of_date(c->year + 1, 1, 1) <= days)
		c->year++;
	while (days_of_date(c->year, 1, 1) > days)
		c->year--;
	c->month = 12;
	while (days_of_date(c->year, c->month, 1) > days)
		c->month--;
	c->day = (unsigned)(days - days_of_date(c->year, c->month, 1)) + 1;
	c->hour = rest / 3600;
	c->minute = rest / 60 % 60;
	c->second = rest % 60;
	c->weekday = (unsigned)((days + 4) % 7); /* 1970-01-01 was a Thursday */
}

static uint8_t encode(const struct rtc *rtc, unsigned v)
{
	return (uint8_t)(rtc->s.cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static unsigned decode(const struct rtc *rtc, uint8_t raw)
{
	return rtc->s.cmos[REG_B] & B_BINARY ? raw : (raw >> 4) * 10u + (raw & 15u);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
	if (rtc->s.cmos[REG_B] & B_24H)
		return encode(rtc, hour);
	return (uint8_t)(encode(rtc, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hour(const struct rtc *rtc, uint8_t raw)
{
	if (rtc->s.cmos[REG_B] & B_24H)
		return decode(rtc, raw);
	return decode(rtc, raw & 0x7f) % 12 + (raw & HOUR_PM ? 12 : 0);
}

static bool divider_reset(uint8_t reg_a)
{
	return (reg_a & A_DIV_RESET) == A_DIV_RESET;
}

/* The guest's time; while held, where it would be: the divider chain runs on behind SET. */
static uint64_t time_now(const struct rtc *rtc)
{
	return rtc->s.base + vtimer_now(&rtc->timer);
}

/* Writes time `now` into the registers, in the format register B asks for. */
static void time_to_registers(struct rtc *rtc, uint64_t now)
{
	uint8_t *cmos = rtc->s.cmos;
	struct calendar c;

	calendar_of(now, &c);
	cmos[REG_SECONDS] = encode(rtc, c.second);
	cmos[REG_MINUTES] = encode(rtc, c.minute);
	cmos[REG_HOURS] = encode_hour(rtc, c.hour);
	cmos[REG_WEEKDAY] = encode(rtc, (c.weekday + rtc->s.day_shift) % 7 + 1);
	cmos[REG_DAY] = encode(rtc, c.day);
	cmos[REG_MONTH] = encode(rtc, c.month);
	cmos[REG_YEAR] = encode(rtc, c.year % 100);
	cmos[RTC_CENTURY] = encode(rtc, c.year / 100);
}

static unsigned clamp(unsigned v, unsigned min, unsigned max)
{
	return v < min ? min : v > max ? max : v;
}

/* The time in the registers, whole seconds as ns. What no clock shows becomes the nearest it can.
 */
static uint64_t time_from_registers(const struct rtc *rtc)
{
	const uint8_t *cmos = rtc->s.cmos;
	unsigned year = decode(rtc, cmos[RTC_CENTURY]) * 100 + decode(rtc, cmos[REG_YEAR]);
	unsigned month = clamp(decode(rtc, cmos[REG_MONTH]), 1, 12);
	unsigned day = clamp(decode(rtc, cmos[REG_DAY]), 1, 31);
	uint64_t sec;

	sec = days_of_date(clamp(year, 1970, 2400), month, day) * SEC_PER_DAY;
	sec += clamp(decode_hour(rtc, cmos[REG_HOURS]), 0, 23) * 3600u;
	sec += clamp(decode(rtc, cmos[REG_MINUTES]), 0, 59) * 60u;
	sec += clamp(decode(rtc, cmos[REG_SECONDS]), 0, 59);
	return sec * NS_PER_SEC;
}

/* The registers were written: they are the time now. `fraction` is how far the second has got. */
static void set_time(struct rtc *rtc, uint64_t fraction)
{
	uint64_t now = time_from_registers(rtc) + fraction;
	uint64_t base = now - vtimer_now(&rtc->timer);
	unsigned weekday = clamp(decode(rtc, rtc->s.cmos[REG_WEEKDAY]), 1, 7) - 1;
	struct calendar c;

	calendar_of(now, &c);
	rtc->s.day_shift = (uint8_t)((weekday + 7 - c.weekday) % 7);
	rtc->s.difference += base - rtc->s.base;
	rtc->s.base = base;
	rtc->s.seen = now;
}

/* Nanoseconds between periodic interrupts (table 5 for a 32.768 kHz time base); 0: off. */
static uint64_t periods_per_sec(uint8_t reg_a)
{
	unsigned rate = reg_a & A_RATE;

	if (rate == 0)
		return 0;
	return rate <= 2 ? CRYSTAL_HZ >> (rate + 6) : CRYSTAL_HZ >> (rate - 1);
}

/* The first end of a periodic interval after `t`; every rate divides the second evenly. */
static uint64_t next_period(uint64_t t, uint64_t hz)
{
	uint64_t k = t % NS_PER_SEC * hz / NS_PER_SEC + 1;

	return t - t % NS_PER_SEC + (k * NS_PER_SEC + hz - 1) / hz;
}

static bool alarm_byte_matches(uint8_t alarm, uint8_t now)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm == now;
}

/* The first second after `t` at which the alarm goes off, or NO_TIME when it never does. */
static uint64_t next_alarm(const struct rtc *rtc, uint64_t t)
{
	const uint8_t *cmos = rtc->s.cmos;
	uint64_t sec = t / NS_PER_SEC + 1, end = sec + SEC_PER_DAY;

	/* Steps by hours, then minutes, then seconds: at most 25 + 60 + 60 of them. */
	while (sec <= end) {
		unsigned day = (unsigned)(sec % SEC_PER_DAY);

		if (!alarm_byte_matches(cmos[REG_HOURS_ALARM], encode_hour(rtc, day / 3600)))
			sec += 3600 - day % 3600;
		else if (!alarm_byte_matches(cmos[REG_MINUTES_ALARM], encode(rtc, day / 60 % 60)))
			sec += 60 - day % 60;
		else if (!alarm_byte_matches(cmos[REG_SECONDS_ALARM], encode(rtc, day % 60)))
			sec++;
		else
			return sec * NS_PER_SEC;
	}
	return NO_TIME;
}

/* Records in register C what has happened since it was last brought up to date. */
static void update_flags(struct rtc *rtc)
{
	uint64_t hz = periods_per_sec(rtc->s.cmos[REG_A]), now;

	if (divider_reset(rtc->s.cmos[REG_A]))
		return;
	now = time_now(rtc);
	if (now <= rtc->s.seen)
		return;
	if (hz != 0 && next_period(rtc->s.seen, hz) <= now)
		rtc->s.flags |= C_PF;
	if (!rtc->s.held && now / NS_PER_SEC != rtc->s.seen / NS_PER_SEC) {
		rtc->s.flags |= C_UF;
		if (!(rtc->s.flags & C_AF) && next_alarm(rtc, rtc->s.seen) <= now)
			rtc->s.flags |= C_AF;
	}
	rtc->s.seen = now;
}

/* The interrupt line, and the timer for the next event that would raise it. Flags are up to date.
 */
static void update_irq(struct rtc *rtc)
{
	uint8_t enabled = rtc->s.cmos[REG_B] & B_INTERRUPTS;
	bool pending = rtc->s.flags & enabled;
	uint64_t hz = periods_per_sec(rtc->s.cmos[REG_A]), next = NO_TIME, now;

	irq_line_set(&rtc->irq, pending);
	if (pending || enabled == 0 || divider_reset(rtc->s.cmos[REG_A])) {
		vtimer_set(&rtc->timer, VCLOCK_NEVER);
		return;
	}
	now = rtc->s.seen;
	if ((enabled & C_PF) && hz != 0)
		next = next_period(now, hz);
	if ((enabled & C_UF) && !rtc->s.held)
		next = min_u64(next, now - now % NS_PER_SEC + NS_PER_SEC);
	if ((enabled & C_AF) && !rtc->s.held)
		next = min_u64(next, next_alarm(rtc, now));
	vtimer_set(&rtc->timer, next == NO_TIME ? VCLOCK_NEVER : next - rtc->s.base);
}

static void event_due(struct timer *t)
{
	struct rtc *rtc = container_of(t, struct rtc, timer.timer);

	spin_lock(&rtc->lock);
	update_flags(rtc);
	update_irq(rtc);
	spin_unlock(&rtc->lock);
}

/* Registers A and B decide together whether the time moves. Flags are up to date. */
static void set_control(struct rtc *rtc, uint8_t a, uint8_t b)
{
	bool hold = (b & B_SET) || divider_reset(a);

	if (hold && !rtc->s.held)
		time_to_registers(rtc, time_now(rtc)); /* in the format that was valid until now */
	rtc->s.cmos[REG_A] = a & (A_DIVIDER | A_RATE);
	rtc->s.cmos[REG_B] = b;
	if (divider_reset(a))
		rtc->s.restart = true;
	if (!hold && rtc->s.held) {
		/* The divider chain ran on behind SET, unless it was reset (data sheet page 13). */
		set_time(rtc, rtc->s.restart ? HALF_SEC_NS : time_now(rtc) % NS_PER_SEC);
		rtc->s.restart = false;
	}
	rtc->s.held = hold;
}

static bool is_time_register(uint8_t index)
{
	return index == REG_SECONDS || index == REG_MINUTES || index == REG_HOURS ||
	       (index >= REG_WEEKDAY && index <= REG_YEAR) || index == RTC_CENTURY;
}

static uint8_t read_register(struct rtc *rtc, uint8_t index)
{
	uint8_t val;

	switch (index) {
	case REG_A:
		val = rtc->s.cmos[REG_A];
		if (!rtc->s.held && time_now(rtc) % NS_PER_SEC >= NS_PER_SEC - UIP_LEAD_NS)
			val |= A_UIP;
		return val;
	case REG_C:
		val = rtc->s.flags;
		if (val & rtc->s.cmos[REG_B] & B_INTERRUPTS)
			val |= C_IRQF;
		rtc->s.flags = 0;
		return val;
	case REG_D:
		return D_VALID;
	default:
		if (is_time_register(index) && !rtc->s.held)
			time_to_registers(rtc, time_now(rtc));
		return rtc->s.cmos[index];
	}
}

static void write_register(struct rtc *rtc, uint8_t index, uint8_t val)
{
	switch (index) {
	case REG_A:
		set_control(rtc, val, rtc->s.cmos[REG_B]);
		break;
	case REG_B:
		/* SET clears UIE (data sheet page 14). */
		set_control(rtc, rtc->s.cmos[REG_A], val & B_SET ? (uint8_t)(val & ~C_UF) : val);
		break;
	case REG_C:
	case REG_D:
		break;
	default:
		if (is_time_register(index) && !rtc->s.held) {
			uint64_t now = time_now(rtc);

			time_to_registers(rtc, now);
			rtc->s.cmos[index] = val;
			set_time(rtc, now % NS_PER_SEC);
		} else {
			rtc->s.cmos[index] = val;
		}
	}
}

static uint64_t rtc_io_read(void *dev, uint64_t off, unsigned size)
{
	struct rtc *rtc = dev;
	uint8_t val;

	(void)size;
	if (off == 0) /* the index cannot be read on a PC */
		return 0xff;
	spin_lock(&rtc->lock);
	update_flags(rtc);
	val = read_register(rtc, rtc->s.index);
	if (rtc->s.index == REG_C)
		update_irq(rtc);
	spin_unlock(&rtc->lock);
	return val;
}

static void rtc_io_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct rtc *rtc = dev;

	(void)size;
	spin_lock(&rtc->lock);
	if (off == 0) {
		rtc->s.index = val & 0x7f; /* bit 7 masks NMI on a PC; nothing here raises one */
	} else {
		update_flags(rtc);
		write_register(rtc, rtc->s.index, (uint8_t)val);
		update_irq(rtc);
	}
	spin_unlock(&rtc->lock);
}

const struct io_ops rtc_ops = {.read = rtc_io_read, .write = rtc_io_write, .max_size = 1};

static void set_cmos16(struct rtc *rtc, unsigned index, uint64_t val)
{
	val = min_u64(val, 0xffff);
	rtc->s.cmos[index] = (uint8_t)val;
	rtc->s.cmos[index + 1] = (uint8_t)(val >> 8);
}

/* What a BIOS stores about the machine; the checksum covers 0x10-0x2d. */
static void fill_cmos(struct rtc *rtc, uint64_t low_ram, uint64_t high_ram)
{
	uint64_t above_1m = low_ram > MIB ? low_ram - MIB : 0;
	uint64_t above_16m = low_ram > 16 * MIB ? low_ram - 16 * MIB : 0;
	uint64_t high_units = min_u64(high_ram / (64 * KIB), 0xffffff);
	unsigned sum = 0;

	rtc->s.cmos[0x14] = 0x02; /* equipment: a numeric coprocessor; no floppy, no display */
	set_cmos16(rtc, 0x15, 640);
	set_cmos16(rtc, 0x17, above_1m / KIB);
	set_cmos16(rtc, 0x30, above_1m / KIB);
	set_cmos16(rtc, 0x34, above_16m / (64 * KIB));
	set_cmos16(rtc, 0x5b, high_units & 0xffff);
	rtc->s.cmos[0x5d] = (uint8_t)(high_units >> 16);
	for (unsigned i = 0x10; i <= 0x2d; i++)
		sum += rtc->s.cmos[i];
	rtc->s.cmos[0x2e] = (uint8_t)(sum >> 8);
	rtc->s.cmos[0x2f] = (uint8_t)sum;
}

void rtc_init(struct rtc *rtc, const struct vclock *clock, const struct irq_line *irq,
	      uint64_t low_ram, uint64_t high_ram)
{
	memset(rtc, 0, sizeof(*rtc));
	rtc->lock = (struct spinlock)SPINLOCK_INIT;
	rtc->irq = *irq;
	vtimer_init(&rtc->timer, clock, event_due);
	rtc->s.version = RTC_STATE_VERSION;
	rtc->s.cmos[REG_A] = A_POWER_ON;
	rtc->s.cmos[REG_B] = B_24H;
	fill_cmos(rtc, low_ram, high_ram);
}

void rtc_reset(struct rtc *rtc, uint64_t wallclock)
{
	spin_lock(&rtc->lock);
	/* A guest that died while setting the clock must not leave it standing for the next. */
	rtc->s.cmos[REG_A] = A_POWER_ON;
	rtc->s.cmos[REG_B] &= (uint8_t) ~(B_SET | B_INTERRUPTS | B_SQWE);
	rtc->s.held = false;
	rtc->s.restart = false;
	rtc->s.index = 0;
	rtc->s.flags = 0;
	rtc->s.base = wallclock + rtc->s.difference - vtimer_now(&rtc->timer);
	rtc->s.seen = time_now(rtc);
	update_irq(rtc);
	spin_unlock(&rtc->lock);
}

void rtc_pause(struct rtc *rtc)
{
	vtimer_pause(&rtc->timer, &rtc->lock);
}

void rtc_resume(struct rtc *rtc)
{
	spin_lock(&rtc->lock);
	vtimer_resume(&rtc->timer);
	spin_unlock(&rtc->lock);
}
