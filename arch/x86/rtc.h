/* SPDX-License-Identifier: BSD-2-Clause */
/* The CMOS real-time clock (Motorola MC146818), read once at boot. */
#ifndef SLUICE_ARCH_X86_RTC_H
#define SLUICE_ARCH_X86_RTC_H

#include <stdint.h>

/* The registers as they are: binary or BCD, 12 or 24 hours as status_b says. */
struct rtc_registers {
	uint8_t seconds, minutes, hours, day, month, year;
	uint8_t century; /* 0: the machine has no such register */
	uint8_t status_b;
};

/* Seconds since 1970-01-01 UTC, or 0 when the registers hold no date between 1970 and 2262. Pure.
 */
uint64_t rtc_decode(const struct rtc_registers *r);

/* Reads the clock; `century_register` is its CMOS index, 0 when there is none. 0 when it has no
 * date. */
uint64_t rtc_read(uint8_t century_register);

#endif
