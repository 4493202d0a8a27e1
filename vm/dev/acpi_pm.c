/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI fixed hardware; register layouts are those of ACPI 6.5, 4.8.3.1 to 4.8.3.3. */
#include "vm/dev/acpi_pm.h"

#include "lib/string.h"
#include "lib/util.h"

#define NS_PER_SEC 1000000000ULL

#define PM1_TMR	   0x0001u /* bits of status and enable */
#define PM1_GBL	   0x0020u
#define PM1_PWRBTN 0x0100u
#define PM1_RTC	   0x0400u /* never comes; kernels enable it and read back */
#define EN_MASK	   (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)

#define CNT_SCI_EN     0x0001u
#define CNT_BM_RLD     0x0002u
#define CNT_SLP_TYP(c) ((c) >> 10 & 7u)
#define CNT_SLP_BITS   0x1c00u
#define CNT_SLP_EN     0x2000u

#define HALF_TURN (1ULL << 31) /* ticks in which the top bit of the timer turns once */

static uint64_t pm_ticks(const struct acpi_pm *pm)
{
	uint64_t ns = vtimer_now(&pm->timer);

	/* Seconds and rest apart: exact, and no product exceeds 64 bits. */
	return ns / NS_PER_SEC * ACPI_PM_TIMER_HZ + ns % NS_PER_SEC * ACPI_PM_TIMER_HZ / NS_PER_SEC;
}

/* The first nanosecond at which pm_ticks gives `ticks`. */
static uint64_t ticks_to_ns(uint64_t ticks)
{
	return ticks / ACPI_PM_TIMER_HZ * NS_PER_SEC +
	       (ticks % ACPI_PM_TIMER_HZ * NS_PER_SEC + ACPI_PM_TIMER_HZ - 1) / ACPI_PM_TIMER_HZ;
}

static void update_status(struct acpi_pm *pm)
{
	uint64_t half_turns = pm_ticks(pm) / HALF_TURN;

	if (half_turns != pm->s.half_turns)
		pm->s.status |= PM1_TMR;
	pm->s.half_turns = half_turns;
}

/* The interrupt, and the timer for the next turn of the top bit if that would raise it. */
static void update_sci(struct acpi_pm *pm)
{
	uint64_t next = VCLOCK_NEVER;

	irq_line_set(&pm->sci, pm->s.status & pm->s.enable);
	if ((pm->s.enable & PM1_TMR) && !(pm->s.status & PM1_TMR))
		next = ticks_to_ns((pm->s.half_turns + 1) * HALF_TURN);
	vtimer_set(&pm->timer, next);
}

static void timer_turned(struct timer *t)
{
	struct acpi_pm *pm = container_of(t, struct acpi_pm, timer.timer);

	spin_lock(&pm->lock);
	update_status(pm);
	update_sci(pm);
	spin_unlock(&pm->lock);
}

/* The register file as bytes, so that every access width works as OSPM is allowed to use it. */
static uint8_t read_byte(const struct acpi_pm *pm, unsigned off, uint64_t ticks)
{
	unsigned shift = 8 * (off & 1);

	switch (off & ~1u) {
	case ACPI_PM1_EVENT:
		return (uint8_t)(pm->s.status >> shift);
	case ACPI_PM1_EVENT + 2:
		return (uint8_t)(pm->s.enable >> shift);
	case ACPI_PM1_CONTROL:
		return (uint8_t)(pm->s.control >> shift);
	case ACPI_PM_TIMER:
	case ACPI_PM_TIMER + 2:
		return (uint8_t)(ticks >> (8 * (off - ACPI_PM_TIMER)));
	default:
		return 0;
	}
}

static void write_control(struct acpi_pm *pm, uint16_t val)
{
	pm->s.control = (uint16_t)((val & (CNT_BM_RLD | CNT_SLP_BITS)) | CNT_SCI_EN);
	if ((val & CNT_SLP_EN) && CNT_SLP_TYP(val) == ACPI_SLP_TYP_S5)
		pm->power_off(pm->ctx);
}

/* `val` replaces the bits of `mask` in the 16-bit register at `off`. */
static void write_register(struct acpi_pm *pm, unsigned off, uint16_t val, uint16_t mask)
{
	switch (off) {
	case ACPI_PM1_EVENT: /* ones clear */
		pm->s.status &= (uint16_t) ~(val & mask);
		break;
	case ACPI_PM1_EVENT + 2:
		pm->s.enable = (uint16_t)(((pm->s.enable & ~mask) | (val & mask)) & EN_MASK);
		break;
	case ACPI_PM1_CONTROL:
		write_control(pm, (uint16_t)((pm->s.control & ~mask) | (val & mask)));
		break;
	default: /* the timer is read-only */
		break;
	}
}

static uint64_t acpi_pm_io_read(void *dev, uint64_t off, unsigned size)
{
	struct acpi_pm *pm = dev;
	uint64_t val = 0, ticks;

	spin_lock(&pm->lock);
	update_status(pm);
	ticks = pm_ticks(pm);
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)read_byte(pm, (unsigned)off + i, ticks) << (8 * i);
	spin_unlock(&pm->lock);
	return val;
}

static void acpi_pm_io_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct acpi_pm *pm = dev;

	spin_lock(&pm->lock);
	update_status(pm);
	for (unsigned i = 0; i < size;) {
		unsigned at = (unsigned)off + i, shift = 8 * (at & 1);
		unsigned n = shift == 0 && size - i >= 2 ? 2 : 1;

		write_register(pm, at & ~1u, (uint16_t)(val >> (8 * i) << shift),
			       (uint16_t)((n == 2 ? 0xffffu : 0xffu) << shift));
		i += n;
	}
	update_sci(pm);
	spin_unlock(&pm->lock);
}

const struct io_ops acpi_pm_ops = {
	.read = acpi_pm_io_read, .write = acpi_pm_io_write, .max_size = 4};

void acpi_pm_power_button(struct acpi_pm *pm)
{
	spin_lock(&pm->lock);
	update_status(pm);
	pm->s.status |= PM1_PWRBTN;
	update_sci(pm);
	spin_unlock(&pm->lock);
}

void acpi_pm_init(struct acpi_pm *pm, const struct vclock *clock, const struct irq_line *sci,
		  void (*power_off)(void *ctx), void *ctx)
{
	memset(pm, 0, sizeof(*pm));
	pm->lock = (struct spinlock)SPINLOCK_INIT;
	pm->sci = *sci;
	pm->power_off = power_off;
	pm->ctx = ctx;
	vtimer_init(&pm->timer, clock, timer_turned);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	spin_lock(&pm->lock);
	memset(&pm->s, 0, sizeof(pm->s));
	pm->s.version = ACPI_PM_STATE_VERSION;
	pm->s.control = CNT_SCI_EN;
	pm->s.half_turns = pm_ticks(pm) / HALF_TURN;
	update_sci(pm);
	spin_unlock(&pm->lock);
}

void acpi_pm_pause(struct acpi_pm *pm)
{
	vtimer_pause(&pm->timer, &pm->lock);
}

void acpi_pm_resume(struct acpi_pm *pm)
{
	spin_lock(&pm->lock);
	vtimer_resume(&pm->timer);
	spin_unlock(&pm->lock);
}
