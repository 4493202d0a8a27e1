/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's own command line: words `key` or `key=value` between blanks. Whatever is not
 * understood is reported, never ignored.
 */
#ifndef SLUICE_VM_CMDLINE_H
#define SLUICE_VM_CMDLINE_H

#include <stdbool.h>

#include "lib/log.h"

enum after {
	AFTER_MONITOR, /* stay at the prompt */
	AFTER_POWEROFF,
	AFTER_REBOOT,
};

/* stage-2 unmap and flush policies (unmap=, flush=) */
enum unmap_policy { UNMAP_AUTO, UNMAP_PAGE, UNMAP_RANGE, UNMAP_RANGE_NOFWB };
enum flush_policy { FLUSH_LAZY, FLUSH_EAGER };

#define CMDLINE_CONSOLE_MAX 64 /* with the NUL */

struct cmdline {
	char console[CMDLINE_CONSOLE_MAX]; /* as given, "" when not; boot has opened it already */
	enum log_level loglevel;
	enum after after; /* when the last guest has ended */
	bool selftest;
	enum unmap_policy unmap;
	enum flush_policy flush;
};

/* One problem: a whole sentence, valid during the call only. */
typedef void cmdline_report_fn(void *ctx, const char *msg);

/*
 * Fills *out from `text` (NULL is ""), starting from the defaults. A word that is wrong is reported
 * and leaves its setting as it was; when a key comes twice the last one counts. Returns the number
 * of problems.
 */
unsigned cmdline_parse(const char *text, struct cmdline *out, cmdline_report_fn *report, void *ctx);

#define CMDLINE_LOGLEVELS "error, warn, info or debug"

/* Between the words of CMDLINE_LOGLEVELS and levels. False: not one of them. */
bool cmdline_loglevel(const char *name, enum log_level *out);
const char *cmdline_loglevel_name(enum log_level level);

#endif
