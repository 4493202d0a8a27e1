/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guests and their lives: defined -> running -> stopped or crashed -> running again, any number of
 * times.
 *
 * The table of guests, starting and ending are the boot CPU's. vm_stop may be called from anywhere;
 * an end takes effect in the boot CPU's main loop once all vCPUs have left the guest.
 */
#ifndef SLUICE_VM_VM_H
#define SLUICE_VM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/atomic.h"
#include "lib/spinlock.h"
#include "vm/clock.h"
#include "vm/conf.h"
#include "vm/guestmem.h"

#define VM_END_TEXT   160
#define VM_REPORT_MAX 2048

struct guest_console;
struct pc;
struct vcpu;

enum vm_state { VM_DEFINED, VM_RUNNING, VM_PAUSED, VM_STOPPED, VM_CRASHED };

/* Why a guest ended. */
enum vm_cause {
	VM_CAUSE_NONE,
	VM_CAUSE_POWEROFF,  /* it asked for it */
	VM_CAUSE_DESTROYED, /* the monitor did it */
	VM_CAUSE_EXITED,    /* a test guest's status (debug-exit) */
	VM_CAUSE_KILLED,    /* it did what it must not, or could not be run on */
	VM_CAUSE_RESET,	    /* not an end: it starts afresh */
};

struct vm_end {
	enum vm_cause cause;
	int status;		/* VM_CAUSE_EXITED */
	char text[VM_END_TEXT]; /* VM_CAUSE_KILLED: by what */
	struct vcpu *vcpu;	/* that brought it about, or NULL */
};

/* About 10 KiB: never on the stack. */
struct vm {
	struct vm *next; /* in the order of definition */
	struct guest_conf conf;
	enum vm_state state;

	/* Valid from vm_start to the end. */
	struct guestmem mem;
	struct pc *pc; /* the board; board_create and board_destroy own it */

	struct vclock clock;
	struct vcpu *vcpus[MAX_VCPUS]; /* exist as long as the VM does */
	unsigned nr_vcpus;
	struct guest_console *console;

	atomic_u32 stopping;	  /* an end is under way: no vCPU enters the guest */
	struct spinlock end_lock; /* first cause wins */
	struct vm_end end;	  /* under end_lock while running */

	struct vm_end last;	    /* how it ended last; cause NONE: never */
	char report[VM_REPORT_MAX]; /* registers when it was killed; "" otherwise */
	uint64_t starts, resets;
	uint64_t started_ns; /* machine_now of the last start */
};

/* --- for devices and exits ------------------------------------------------------------------- */

/*
 * Ends the guest, or resets it. From an exit, a device or the monitor, with any lock held; the
 * first cause wins. `fmt` says by what it was killed ("triple fault at rip 0x..."), NULL otherwise.
 */
__attribute__((format(printf, 4, 5))) void vm_stop(struct vm *vm, enum vm_cause cause, int status,
						   const char *fmt, ...);

/* vm_stop has been called: arch_vcpu_run looks before each entry and returns VCPU_RUN_STOPPED. */
static inline bool vm_stopping(const struct vm *vm)
{
	return atomic_load32_acq(&vm->stopping) != 0;
}

/* --- for the monitor and the main loop -------------------------------------------------------- */

/* Why guests cannot run on this machine: vm_start fails with it from now on. Borrowed; NULL: they
 * can. */
void vm_set_unavailable(const char *why);

/* A new guest in state defined; copies *conf. -EEXIST: the name is taken; -ENOMEM. */
int vm_define(const struct guest_conf *conf, struct vm **out);

/* Forgets a guest that does not run: -EBUSY when it does. */
int vm_undefine(struct vm *vm);

/* NULL when there is none of that name. */
struct vm *vm_find(const char *name);

/* All guests in the order of definition; NULL at the end. */
struct vm *vm_first(void);
struct vm *vm_next(const struct vm *vm);

/*
 * Memory, devices, images, and off it goes. On failure (with the reason in `err`) the guest is as
 * it was: -EBUSY when it runs, -ENODEV when this machine cannot run guests, -EOPNOTSUPP when
 * none of the CPUs it may use runs, -ENOENT for a missing module, -ENOMEM, or what the loader says.
 */
int vm_start(struct vm *vm, char *err, size_t err_size);

/* As vm_stop with DESTROYED or RESET and at once when possible. -EINVAL when it does not run. */
int vm_destroy(struct vm *vm);
int vm_reset(struct vm *vm);

/* The first module that the guest needs and the boot loader did not bring; NULL: all are here. */
const char *vm_missing_module(const struct guest_conf *conf);

/* The sentence about it, for err and log. Returns buf. */
const char *vm_describe_missing(const char *module, char *buf, size_t size);

/* PCPU_WORK_VM: completes the ends that are ready. */
void vm_work(void);

/* Called once, when a guest has ended and none runs any more. */
void vm_on_last_end(void (*fn)(void));

const char *vm_state_name(enum vm_state state);

/* "powered off", "exited, status 3", "killed: ..."; "-" for NONE. Returns buf. */
const char *vm_end_describe(const struct vm_end *end, char *buf, size_t size);

#endif
