/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one serial line and who talks on it: the hypervisor's messages, the monitor, and the guest
 * that is attached. Whole lines never mix; nothing here waits for the line on a guest's behalf.
 *
 * Output of a guest goes through a ring of its own: attached, the ring empties into the line and
 * the guest is told to wait while it is full; detached, the newest CONSOLE_RING bytes are kept and
 * come out first at the next attach.
 *
 * Any pCPU may write; input, attach and detach are the boot CPU's.
 */
#ifndef SLUICE_VM_CONSOLE_H
#define SLUICE_VM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

#define CONSOLE_RING   16384u /* bytes kept for each guest */
#define CONSOLE_ESCAPE 0x1d   /* Ctrl-]: back to the monitor */

struct vm;
struct guest_console;

/* Takes over the log's sink. The monitor is in front. */
void console_init(void);

/* A guest's end of the console; NULL when out of memory. Must be detached when freed. */
struct guest_console *console_guest_create(void);
void console_guest_free(struct guest_console *gc);

/*
 * Output of the guest's UART. Returns how many bytes were taken; fewer than `len` means that the
 * line is behind: board_console_drained(vm) will be called, from the main loop, when there is room.
 * The caller may hold the UART's lock.
 */
size_t console_guest_write(struct vm *vm, const char *data, size_t len);

/* The guest's UART has room for input again (board_console_room): what was held back is passed on
 * from the main loop. The caller may hold the UART's lock. */
void console_guest_room(struct vm *vm);

/* The guest gets the keys, and its output the line: what it wrote meanwhile first. */
void console_attach(struct vm *vm);

/* Prints what the guest left in its ring; for one that does not run. */
void console_replay(struct vm *vm);

/* The monitor gets the line. The guest's output stays in its ring. With `hint` a line says so. */
void console_detach(bool hint);

/* The guest has ended: what it still had to say goes out if it is attached, keys that wait for it
 * are dropped. It stays attached until console_detach, so that its last line can be told first. */
void console_guest_ended(struct vm *vm);

/* Who has the line; NULL: the monitor. */
struct vm *console_attached(void);

/*
 * Text of the monitor; '\n' goes out as "\r\n". Nothing is lost: when the line's ring is full it
 * waits until the UART has taken enough.
 */
void console_write(const char *text, size_t len);
__attribute__((format(printf, 1, 2))) void console_printf(const char *fmt, ...);

/*
 * The same for who holds the lock: the monitor's prompt and its line are drawn under it, so that a
 * message from another pCPU finds them whole.
 */
void console_lock(void);
void console_unlock(void);
void console_put(const char *text, size_t len);

/* PCPU_WORK_CONSOLE: takes input, moves output on. */
void console_work(void);

/* Returns when everything has gone into the UART, or when it has taken nothing for a second (then
 * the rest is dropped). Takes the lock. */
void console_flush(void);

#endif
