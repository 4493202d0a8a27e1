/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fakes of everything below and beside vm/: the machine (time, timer, serial line, power), the
 * board, the architecture's vCPUs, guest memory. One pCPU. Linked by name:
 * `// links: tests/unit/fake_vm.c`.
 */
#ifndef SLUICE_TESTS_UNIT_FAKE_VM_H
#define SLUICE_TESTS_UNIT_FAKE_VM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/vcpu.h"

struct vm;
struct vcpu;

/* --- the machine --- */
extern uint64_t fake_now;	  /* machine_now */
extern uint64_t fake_now_step;	  /* every look at the clock moves it by this */
extern void (*fake_on_now)(void); /* called at every look at the clock, or NULL */
extern uint64_t fake_timer;	  /* what the hardware timer is set to */
extern unsigned fake_timer_sets;
extern unsigned fake_idles;	     /* calls of machine_idle; each lets time pass to the timer */
extern bool fake_interrupts_allowed; /* false: machine_take_interrupts does nothing */

/* What came out of the UART, terminated; fake_out_reset empties it. */
extern char fake_out[1 << 20];
extern size_t fake_out_len;
void fake_out_reset(void);

extern size_t fake_tx_room;  /* bytes the UART takes; SIZE_MAX: any number */
extern bool fake_tx_waiting; /* machine_console_tx_wait(true) was the last word */

/* Appends to what the UART has received, and announces it. */
void fake_type(const char *s);
void fake_type_bytes(const char *s, size_t n);
extern size_t fake_rx_left; /* not fetched yet */

/* machine_poweroff and machine_reboot jump here with 1 and 2. */
extern jmp_buf fake_power;
extern const char *fake_virt_error; /* arch_virt_init returns it */

/* --- the board --- */
extern char fake_calls[4096];	     /* names of board, vCPU and memory calls, each with a blank */
extern const char *fake_board_error; /* board_boot fails with this text */
extern size_t fake_room;	     /* board_console_room */
extern char fake_input[1 << 16];     /* what board_console_input got */
extern size_t fake_input_len;
extern unsigned fake_drained; /* calls of board_console_drained */

/* --- vCPUs --- */
extern enum vcpu_run (*fake_run)(struct vcpu *v);		  /* arch_vcpu_run */
extern bool fake_event;						  /* arch_vcpu_has_event */
extern unsigned fake_live_vcpus, fake_live_mem, fake_live_boards; /* created, not destroyed */
extern int fake_vcpu_create_error;

/* Forgets everything above and starts vm/ anew: no guests, monitor in front. */
void fake_start(void);

/* vm_main gives the boot CPU its structure itself: there must be none. */
void fake_forget_pcpu(void);

/* machine_idle jumps there when no timer is set (1): nothing would ever happen. NULL: it returns.
 */
void fake_idle_leaves(jmp_buf *to);

/* Rounds of the main loop. */
void fake_steps(unsigned n);

#endif
