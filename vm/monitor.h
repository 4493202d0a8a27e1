/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor: the prompt on the serial line. Commands are functions in a table; each prints what
 * it has to say and returns.
 */
#ifndef SLUICE_VM_MONITOR_H
#define SLUICE_VM_MONITOR_H

#include <stdbool.h>

void monitor_init(void);

/* One byte from the line while the monitor is in front. */
void monitor_input(char c);

/* The monitor comes to the front (prompt) or leaves it. No-op when it is there already. */
void monitor_front(bool front);

/* Around output by others while the monitor is in front, with the console's lock held: takes the
 * prompt and the line away (false: there was none on the screen), puts them back. */
bool monitor_hide(void);
void monitor_show(void);

/* A command is printing: what is on the screen may be the beginning of a line of its. Under the
 * console's lock too. */
bool monitor_executing(void);

/* Executes one line (also for tests and scripts); `line` is changed. */
void monitor_execute(char *line);

#endif
