/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real-time clock and CMOS memory of a PC: Motorola MC146818A with the century byte at 0x32 and
 * the memory sizes where a BIOS leaves them.
 *
 * The time is the VM's clock plus the host's wall clock at the last reset, so it stands still while
 * the VM is paused. A guest that sets its clock moves a difference that survives resets, as the
 * battery would have it.
 */
#ifndef SLUICE_VM_DEV_RTC_H
#define SLUICE_VM_DEV_RTC_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"
#include "vm/dev/irq.h"
#include "vm/dev/vtimer.h"

#define RTC_CENTURY	  0x32 /* CMOS index, named in the FADT */
#define RTC_STATE_VERSION 1

/* Times are nanoseconds since 1970-01-01 in the guest's calendar unless they say VM clock. */
struct rtc_state {
	uint32_t version;  /* RTC_STATE_VERSION */
	uint8_t index;	   /* last written to port 0x70, without the NMI bit */
	uint8_t flags;	   /* register C: PF, AF, UF that happened and were not read */
	uint8_t day_shift; /* weekday register minus the calendar's weekday, modulo 7 */
	uint8_t held;	   /* SET or the divider chain's reset: the time stands in cmos[] */
	uint8_t restart;   /* the divider was reset while held: half a second to the first update */
	uint64_t base;	   /* time when the VM's clock was at 0 */
	uint64_t seen;	   /* time up to which `flags` is right */
	uint64_t difference; /* what the guest has moved its clock by, ns modulo 2^64 */
	uint8_t cmos[128];   /* time registers are valid only while held */
};

struct rtc {
	struct spinlock lock;
	struct rtc_state s;
	struct irq_line irq; /* IRQ 8 */
	struct vtimer timer;
};

/*
 * `low_ram` is what lies below 4 GiB and `high_ram` what lies above, in bytes; the CMOS says it as
 * far as it can. `clock` is borrowed, `irq` copied. rtc_reset must follow.
 */
void rtc_init(struct rtc *rtc, const struct vclock *clock, const struct irq_line *irq,
	      uint64_t low_ram, uint64_t high_ram);

/* The reset pin; the time becomes `wallclock` (host, ns since 1970) plus the guest's difference. */
void rtc_reset(struct rtc *rtc, uint64_t wallclock);

/* The VM's clock was stopped / started. */
void rtc_pause(struct rtc *rtc);
void rtc_resume(struct rtc *rtc);

/* Ports 0x70 and 0x71. */
extern const struct io_ops rtc_ops;

#endif
