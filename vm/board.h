/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's board: everything of its machine that is not a vCPU or memory. One implementation per
 * architecture (x86: vm/x86/pc.c); the VM's lifecycle calls it without knowing which.
 */
#ifndef SLUICE_VM_BOARD_H
#define SLUICE_VM_BOARD_H

#include <stddef.h>

struct vm;

/*
 * Builds the devices for vm->nr_vcpus vCPUs into vm->pc: allocates, wires, arms nothing. The vCPUs
 * need not exist yet. Returns 0 or a negative errno with the reason in `err`; nothing is left
 * behind then.
 */
int board_create(struct vm *vm, char *err, size_t err_size);

/* Cancels every timer of the board and frees it. No vCPU of the VM runs. No-op without a board. */
void board_destroy(struct vm *vm);

/*
 * Power-on: resets every device, adds RAM slots to vm->mem (which guestmem_init has just made
 * empty), loads the images, writes the firmware tables and starts vCPU 0. Called with vm->vcpus
 * created, the VM's clock at 0 and stopped or started, and no vCPU running. On failure the reason
 * is in `err` and the caller throws the VM's memory away as after a stop.
 */
int board_boot(struct vm *vm, char *err, size_t err_size);

/*
 * The VM's clock was stopped / started: timers follow it. A stopped or crashed VM stays paused
 * until board_boot or board_destroy, so that no timer of a dead guest ever fires.
 */
void board_pause(struct vm *vm);
void board_resume(struct vm *vm);

/* How many bytes of input the guest's UART takes now; 0 as well when there is no board. */
size_t board_console_room(const struct vm *vm);

/* Keys for the guest's UART; what goes beyond board_console_room is lost as on a real line. */
void board_console_input(struct vm *vm, const char *data, size_t len);

/*
 * After console_guest_write (vm/console.h) took nothing: it would take some now. Must not be called
 * from inside console_guest_write, which runs with the UART locked.
 */
void board_console_drained(struct vm *vm);

/* Presses the guest's power button; what the guest makes of it is its own business. */
void board_power_button(struct vm *vm);

#endif
