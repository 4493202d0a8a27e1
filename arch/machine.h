/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine as vm/ sees it: time, one one-shot timer per pCPU, the interrupt window, the console
 * line, power. An architecture implements all of it; see vm/pcpu.h for the other direction
 * (pcpu_raise).
 *
 * All functions expect interrupts off and return with interrupts off. Those without a remark may be
 * called on any pCPU. The console's input, interrupt and choice belong to the boot CPU, output to
 * any.
 */
#ifndef SLUICE_ARCH_MACHINE_H
#define SLUICE_ARCH_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- time ---- */

#define MACHINE_NEVER UINT64_MAX

/* Nanoseconds since boot; monotonic on all pCPUs; 0 until the clock has been calibrated. */
uint64_t machine_now(void);

/* Nanoseconds since 1970-01-01 UTC: the real-time clock as read at boot, plus machine_now(). */
uint64_t machine_wallclock(void);

/*
 * Arms this pCPU's one-shot timer, replacing what was armed: at `deadline_ns` on machine_now()'s
 * scale or soon after, pcpu_raise(PCPU_WORK_TIMER) is called from the interrupt. A deadline in the
 * past fires at once; MACHINE_NEVER disarms. A timer that was disarmed or moved may still fire
 * once.
 */
void machine_timer_set(uint64_t deadline_ns);

/* ---- interrupts ---- */

/* Opens the interrupt window once: everything pending is delivered before this returns. */
void machine_take_interrupts(void);

/*
 * Halts until an interrupt arrives and delivers it. No wake-up is lost: an interrupt that became
 * pending after the caller last looked at its work bits ends the halt at once.
 */
void machine_idle(void);

/* ---- console line ---- */

/*
 * Chooses the console line: "com1".."com4" or a port such as "0x3f8", optionally ",BAUD"
 * (9600..115200 that divide 115200; without it 115200). "auto" takes what ACPI's SPCR names, else
 * COM1. Returns 0; -EINVAL for a spec it does not understand; -ENODEV when nothing answers there.
 * In both cases the line stays what it was, and `err` says why.
 */
int machine_console_open(const char *spec, char *err, size_t err_size);

/* Is there a console line at all? Without one output goes nowhere and no input arrives. */
bool machine_console_present(void);

/*
 * Puts what the transmitter takes now and returns how many bytes that was, 0 when it is full. Never
 * waits. Without a line everything is taken. Bytes go out as they are: "\n" is not translated.
 */
size_t machine_console_tx(const char *s, size_t n);

/* Puts everything, waiting for the transmitter (bounded, so that a dead line cannot hang us). */
void machine_console_tx_all(const char *s, size_t n);

/* The next byte received, or -1. Bytes that nobody fetched in time were dropped, newest first. */
int machine_console_rx(void);

/*
 * true: pcpu_raise(PCPU_WORK_CONSOLE) once, on the boot CPU, as soon as the transmitter is empty
 * (at once when it already is). Not sticky: ask again after the next machine_console_tx() that
 * returned less than was offered. false: no longer interested. Received bytes always raise
 * PCPU_WORK_CONSOLE.
 */
void machine_console_tx_wait(bool on);

/* ---- CPUs ---- */

/*
 * Starts the CPUs that firmware names as usable. Each calls `ready` first, one CPU after the other:
 * NULL, or why it cannot be used. When all have been asked, each calls `run`, which must not
 * return. One that does not come up in time or is refused is reported and left out. Returns how
 * many run, this one counted. Once, by the boot CPU.
 */
unsigned machine_start_cpus(const char *(*ready)(void), void (*run)(void));

/* ---- power ---- */

/* Each tries every way the machine offers; if none works, a line on the console says so and it
 * halts. */
_Noreturn void machine_reboot(void);
_Noreturn void machine_poweroff(void);

/* Stops this pCPU for good. */
_Noreturn void machine_halt(void);

/* ---- what it is ---- */

struct machine_cpu {
	uint32_t hw_id; /* x86: local APIC id */
	bool usable;	/* firmware says that it can be started */
	bool running;	/* it executes Sluice now */
};

struct machine_info {
	unsigned nr_cpus; /* as firmware lists them, [0] is the boot CPU; at most MAX_PCPUS */
	unsigned nr_cpus_ignored; /* listed beyond MAX_PCPUS */
	const struct machine_cpu *cpus;
	const char *cpu_name;	  /* brand string, trimmed */
	const char *cpu_features; /* what Sluice found and uses, words separated by spaces */
	uint64_t tsc_hz;	  /* ticks per second of the time-stamp counter */
	const char *clock;	  /* what the counter was calibrated against */
	const char *timer;	  /* "tsc-deadline", "one-shot" */
	const char *interrupts;	  /* "x2apic+ioapic", "xapic+ioapic", "xapic, console polled" */
	const char *firmware;	  /* "BIOS", "UEFI" */
	const char *loader;	  /* the boot loader's name for itself */
	uint64_t ram_bytes;	  /* RAM the firmware reports as usable */
};

/* Filled before vm_main(); constant afterwards except cpus[].running. */
const struct machine_info *machine_info(void);

#endif
