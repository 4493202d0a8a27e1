/* SPDX-License-Identifier: BSD-2-Clause */
/* The TSC as the machine's clock, and the one-shot timer of each CPU. */
#include "arch/x86/time.h"

#include "arch/machine.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "arch/x86/rtc.h"
#include "arch/x86/uart.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/util.h"
#include "vm/pcpu.h"

#define NS_PER_S    1000000000ULL
#define SCALE_SHIFT 40 /* fraction bits of ns per tick */
#define RATE_SHIFT  32 /* fraction bits of ticks per ns */

#define PM_TIMER_HZ 3579545U /* ACPI 4.8.3.3 */
#define PIT_HZ	    1193182U

#define WINDOW_PER_S 50	      /* measure for a 50th of a second */
#define SAMPLE_TRIES 5	      /* the quickest of so many readings counts: nothing came in between */
#define PATIENCE     40000000 /* readings of a reference that does not move */

static uint64_t tsc_zero, tsc_hz;
static uint64_t ns_per_tick;	/* << SCALE_SHIFT; 0 until calibrated */
static uint64_t ticks_per_ns;	/* << RATE_SHIFT */
static uint64_t apic_per_ns;	/* << RATE_SHIFT */
static uint64_t wallclock_zero; /* ns since 1970 when machine_now() was 0 */
static bool use_deadline;
static const char *source = "nothing";
static uint16_t pm_port;

/* Bits [127:0] of a * b, shifted right; the result fits 64 bits for every operand used here. */
static uint64_t mul_shift(uint64_t a, uint64_t b, unsigned shift)
{
	return (uint64_t)((unsigned __int128)a * b >> shift);
}

void time_start(void)
{
	tsc_zero = rdtsc_ordered();
}

uint64_t machine_now(void)
{
	/* A CPU's counter may be a little behind the boot CPU's: never before 0. */
	int64_t ticks = (int64_t)(rdtsc_ordered() - tsc_zero);

	return ticks > 0 ? mul_shift((uint64_t)ticks, ns_per_tick, SCALE_SHIFT) : 0;
}

uint64_t machine_wallclock(void)
{
	return wallclock_zero + machine_now();
}

uint64_t time_tsc_hz(void)
{
	return tsc_hz;
}

uint64_t time_tsc_at_zero(void)
{
	return tsc_zero;
}

bool time_tsc_invariant(void)
{
	return cpuid_checked(0x80000007, 0).edx & BIT(8);
}

const char *time_source(void)
{
	return source;
}

const char *time_timer_name(void)
{
	return use_deadline ? "tsc-deadline" : "one-shot";
}

void time_delay_us(uint32_t us)
{
	/* Before calibration: assume a fast CPU and wait too long on others. */
	uint64_t ticks = mul_div_u64(us, tsc_hz ? tsc_hz : 5 * NS_PER_S, 1000000);

	for (uint64_t start = rdtsc_ordered(); rdtsc_ordered() - start < ticks;)
		cpu_relax();
}

/* ---- calibration ---- */

/* A clock of known rate that counts up and wraps at mask + 1. */
struct reference {
	const char *name;
	uint64_t (*read)(void);
	uint64_t mask, hz;
};

struct sample {
	uint64_t ref, tsc;
	uint32_t apic; /* counts down */
};

/* Old chipsets latch it badly: a reading counts when the next one is close behind. */
static uint64_t read_pm_timer(void)
{
	uint32_t a = in32(pm_port), b;

	for (unsigned i = 0; i < 10; i++) {
		b = in32(pm_port);
		if (((b - a) & 0xffffff) < 0x8000)
			return b & 0xffffff;
		a = b;
	}
	return a & 0xffffff;
}

/* Channel 2 counts down from 65535 once its gate is open (Intel 8254 data sheet). */
static void start_pit(void)
{
	out8(0x61, (in8(0x61) & 0xfc) | 1); /* gate on, speaker off */
	out8(0x43, 0xb4);		    /* channel 2, both bytes, mode 2: reloads */
	out8(0x42, 0xff);
	out8(0x42, 0xff);
}

static uint64_t read_pit(void)
{
	uint8_t low;

	out8(0x43, 0x80); /* latch channel 2 */
	low = in8(0x42);
	return 0xffff - (uint64_t)(low | in8(0x42) << 8);
}

static uint64_t read_tsc(void)
{
	return rdtsc_ordered();
}

static struct sample take_sample(const struct reference *r)
{
	struct sample best = {0};
	uint64_t best_took = UINT64_MAX;

	for (unsigned i = 0; i < SAMPLE_TRIES; i++) {
		uint64_t before = rdtsc_ordered();
		struct sample s = {.ref = r->read(), .apic = apic_timer_remaining()};
		uint64_t took = rdtsc_ordered() - before;

		s.tsc = before + took / 2;
		if (took < best_took) {
			best_took = took;
			best = s;
		}
	}
	return best;
}

/* Rates of TSC and local APIC timer against `r`; false when it does not run. */
static bool measure(const struct reference *r, uint64_t *tsc, uint64_t *apic)
{
	uint64_t window = r->hz / WINDOW_PER_S, elapsed;
	struct sample a, b;

	apic_timer_start(UINT32_MAX);
	a = take_sample(r);
	for (uint32_t i = 0; ((r->read() - a.ref) & r->mask) < window; i++) {
		if (i == PATIENCE || (i == 1000000 && r->read() == a.ref))
			return false;
	}
	b = take_sample(r);
	apic_timer_start(0);
	elapsed = (b.ref - a.ref) & r->mask;
	*tsc = mul_div_u64(b.tsc - a.tsc, r->hz, elapsed);
	*apic = mul_div_u64(a.apic - b.apic, r->hz, elapsed);
	return *tsc != 0;
}

/* CPUs that tell: Intel's leaf 15h when complete, and hypervisors' leaf 4000_0010h (kHz). */
static uint64_t tsc_hz_by_cpuid(void)
{
	struct cpuid ratio = cpuid_checked(0x15, 0);

	if (ratio.eax && ratio.ebx && ratio.ecx)
		return (uint64_t)ratio.ecx * ratio.ebx / ratio.eax;
	if (cpuid_checked(1, 0).ecx & BIT(31) && cpuid(0x40000000).eax >= 0x40000010)
		return (uint64_t)cpuid(0x40000010).eax * 1000;
	return 0;
}

static uint64_t calibrate(const struct acpi_info *acpi)
{
	const struct reference by_cpuid = {"CPUID", read_tsc, UINT64_MAX, tsc_hz_by_cpuid()};
	const struct reference pm = {"PM timer", read_pm_timer, 0xffffff, PM_TIMER_HZ};
	const struct reference pit = {"PIT", read_pit, 0xffff, PIT_HZ};
	uint64_t tsc, apic;

	if (by_cpuid.hz && measure(&by_cpuid, &tsc, &apic)) {
		source = by_cpuid.name;
		tsc_hz = by_cpuid.hz;
		return apic;
	}
	if (acpi->pm_timer.space == ACPI_SPACE_IO && acpi->pm_timer.address) {
		pm_port = (uint16_t)acpi->pm_timer.address;
		if (measure(&pm, &tsc_hz, &apic)) {
			source = pm.name;
			return apic;
		}
		log_warn("the ACPI PM timer does not count");
	}
	start_pit();
	if (!measure(&pit, &tsc_hz, &apic))
		panic("no clock to measure the TSC against: neither CPUID, PM timer nor PIT");
	source = pit.name;
	return apic;
}

void time_init_cpu(void)
{
	apic_timer_init(use_deadline ? APIC_TIMER_TSC_DEADLINE : APIC_TIMER_ONE_SHOT);
}

void time_init(const struct acpi_info *acpi)
{
	uint64_t rtc = acpi->no_cmos_rtc ? 0 : rtc_read(acpi->century);
	uint64_t apic_hz;

	apic_timer_init(APIC_TIMER_ONE_SHOT);
	apic_hz = calibrate(acpi);
	ns_per_tick = mul_div_u64(NS_PER_S, BIT(SCALE_SHIFT), tsc_hz);
	ticks_per_ns = mul_div_u64(tsc_hz, BIT(RATE_SHIFT), NS_PER_S);
	apic_per_ns = mul_div_u64(apic_hz, BIT(RATE_SHIFT), NS_PER_S);
	use_deadline = cpuid_checked(1, 0).ecx & BIT(24);
	if (use_deadline)
		time_init_cpu();
	else if (apic_hz == 0)
		panic("the local APIC's timer does not count");
	wallclock_zero = rtc * NS_PER_S - machine_now();
	if (rtc == 0) {
		wallclock_zero = 0;
		log_warn("no real-time clock: dates begin in 1970");
	}
	log_set_clock(machine_now);
}

/* ---- timer ---- */

#define LONGEST_ONE_SHOT (1 * NS_PER_S) /* a deadline beyond it takes several interrupts */
#define LONGEST_DEADLINE (3600 * NS_PER_S)

static void disarm(void)
{
	if (use_deadline)
		apic_timer_deadline(0);
	else
		apic_timer_start(0);
}

static void arm(uint64_t delta)
{
	if (use_deadline) {
		uint64_t ticks =
			mul_shift(min_u64(delta, LONGEST_DEADLINE), ticks_per_ns, RATE_SHIFT);

		apic_timer_deadline(rdtsc_ordered() + ticks + 1);
		return;
	}
	delta = mul_shift(min_u64(delta, LONGEST_ONE_SHOT), apic_per_ns, RATE_SHIFT);
	apic_timer_start((uint32_t)min_u64(delta + 1, UINT32_MAX));
}

/* Sets the hardware to what is due first; writes nothing when it already is. */
static void program(struct percpu *cpu)
{
	uint64_t next = min_u64(cpu->timer_deadline, cpu->poll_deadline), now;

	if (next == cpu->timer_armed)
		return;
	cpu->timer_armed = next;
	if (next == MACHINE_NEVER) {
		disarm();
		return;
	}
	now = machine_now();
	arm(next > now ? next - now : 0);
}

void machine_timer_set(uint64_t deadline_ns)
{
	struct percpu *cpu = this_cpu();

	cpu->timer_deadline = deadline_ns;
	program(cpu);
}

void time_interrupt(void)
{
	struct percpu *cpu = this_cpu();
	uint64_t now = machine_now();

	cpu->timer_armed = MACHINE_NEVER;
	if (cpu->timer_deadline <= now) {
		cpu->timer_deadline = MACHINE_NEVER;
		pcpu_raise(PCPU_WORK_TIMER);
	}
	if (cpu->poll_deadline <= now) {
		cpu->poll_deadline = now + UART_POLL_PERIOD;
		uart_interrupt();
	}
	program(cpu);
}

void time_poll_console(bool on)
{
	struct percpu *cpu = this_cpu();

	cpu->poll_deadline = on ? machine_now() + UART_POLL_PERIOD : MACHINE_NEVER;
	program(cpu);
}
