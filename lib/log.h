/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's log: every message goes into a ring (the `log` command shows it) and, when its
 * level is at or below the console's, to the sink as one whole line.
 */
#ifndef SLUICE_LIB_LOG_H
#define SLUICE_LIB_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

#define LOG_LINE_MAX 240 /* characters of a message; longer ones are cut, marked with "..." */

/* `line` is `len` characters with no newline, valid during the call only. */
typedef void log_sink_fn(enum log_level level, const char *line, size_t len);

void log_set_sink(log_sink_fn *sink);
void log_set_level(enum log_level level); /* the most verbose level that reaches the sink */
enum log_level log_get_level(void);
void log_set_clock(uint64_t (*now_ns)(void)); /* stamps; before this every stamp is 0 */

__attribute__((format(printf, 2, 3))) void log_msg(enum log_level level, const char *fmt, ...);

/* Calls fn for every message still in the ring, oldest first: "[seconds.micros] text". */
void log_replay(void (*fn)(void *ctx, const char *line, size_t len), void *ctx);

#define log_err(...)   log_msg(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

#endif
