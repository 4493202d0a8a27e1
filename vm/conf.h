/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guests file: which guests there are and what each is made of. Text in, plain data out; images
 * are named here and looked up by whoever starts the guest.
 *
 *	[guest NAME]		letters, digits, '-', '_', '.'; begins with a letter or digit
 *	kernel = PATH		required; as all paths it has no blanks
 *	initrd = PATH
 *	cmdline = TEXT
 *	memory = SIZE		bytes, or with K, M, G; whole pages; default 256M
 *	vcpus = N		1..MAX_VCPUS, default 1
 *	autostart = yes|no	default no
 *	prealloc = yes|no	all memory populated at start; default no
 *	cpu = 0-1,4		machine CPUs the guest may use; default all
 *	devices = NAME,...	debug-exit
 *	module = PATH ARGS	for multiboot kernels; repeatable, the order is kept
 *
 * One `key = value` a line, LF or CRLF; blanks around both are dropped. A comment begins with
 * ';' or '#' at the start of a line or after a blank: `a;b` and `a#b` are ordinary words.
 *
 * A value that begins with a double quote goes to the closing one: blanks, ';' and '#' in it are
 * ordinary, and a backslash takes a following '"' or backslash literally. Quotes further in are
 * ordinary characters (`cmdline = root="LABEL=x" quiet` keeps them).
 */
#ifndef SLUICE_VM_CONF_H
#define SLUICE_VM_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_VCPUS 8 /* of one guest */

#define CONF_GUEST_NAME_MAX  32 /* each with the terminating NUL */
#define CONF_PATH_MAX	     128
#define CONF_CMDLINE_MAX     2048 /* what Linux on x86 and arm64 takes */
#define CONF_MODULE_ARGS_MAX 256
#define CONF_MODULES_MAX     8
#define CONF_LINE_MAX	     4096 /* bytes of one line */
#define CONF_CPUS_MAX	     256  /* machine CPUs that `cpu` can name */

#define CONF_REPORTS_MAX 32 /* problems named one by one; the rest is not listed */

#define CONF_MEMORY_DEFAULT (256ULL << 20)
#define CONF_MEMORY_MIN	    (2ULL << 20) /* less leaves nothing above the first megabyte */
#define CONF_MEMORY_LIMIT   (1ULL << 40) /* more is a slip of the pen: 1 TiB */

/* guest_conf.devices. Debug exit (x86): a write to port 0xf4 ends the guest with a status. */
#define CONF_DEVICE_DEBUG_EXIT (1u << 0)

struct guest_module {
	char name[CONF_PATH_MAX];
	char args[CONF_MODULE_ARGS_MAX];
};

/* About 5.5 KiB: not for the stack. */
struct guest_conf {
	char name[CONF_GUEST_NAME_MAX];
	unsigned line; /* of its section in the file, for messages; 0 when it came from elsewhere */
	char kernel[CONF_PATH_MAX];
	char initrd[CONF_PATH_MAX]; /* "" when there is none */
	char cmdline[CONF_CMDLINE_MAX];
	uint64_t memory; /* bytes, whole pages */
	unsigned vcpus;	 /* 1..MAX_VCPUS */
	bool autostart;
	bool prealloc;
	unsigned devices;		   /* CONF_DEVICE_* */
	uint64_t cpus[CONF_CPUS_MAX / 64]; /* bit n: machine CPU n may run it; all clear: any may */
	unsigned nr_modules;
	struct guest_module modules[CONF_MODULES_MAX];
};

/* One problem: `msg` is a whole sentence that begins "FILE:LINE: "; valid during the call only. */
typedef void conf_report_fn(void *ctx, unsigned line, const char *msg);

/*
 * Parses `size` bytes at `text`, which need not be terminated. Guests without a mistake go to
 * out[0..*count) in the order of the file; a guest with one is left out, the others survive.
 * `filename` is for messages. out[] is scratch up to `max`: entries from *count on have no meaning.
 * Returns 0 when the whole file was right, -EINVAL when anything was reported; *count is valid in
 * both cases.
 */
int conf_parse(const char *text, size_t size, const char *filename, struct guest_conf *out,
	       size_t max, size_t *count, conf_report_fn *report, void *ctx);

/* A size as in `memory =`: decimal digits, then nothing, K, M or G (either case). False: not one,
 * or too large. */
bool conf_parse_size(const char *s, uint64_t *bytes);

#endif
