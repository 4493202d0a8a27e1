/* SPDX-License-Identifier: BSD-2-Clause */
/* vm/cmdline.c: every word is either understood or reported. */
// links: vm/cmdline.c lib/string.c
#include "tests/tap.h"
#include "vm/cmdline.h"

static char reports[4096];

static void report(void *ctx, const char *msg)
{
	(void)ctx;
	strcat(reports, msg);
	strcat(reports, "\n");
}

static unsigned parse(const char *text, struct cmdline *c)
{
	reports[0] = '\0';
	return cmdline_parse(text, c, report, NULL);
}

static bool is_default(const struct cmdline *c)
{
	return c->console[0] == '\0' && c->loglevel == LOG_INFO && c->after == AFTER_MONITOR &&
	       !c->selftest && c->unmap == UNMAP_AUTO && c->flush == FLUSH_LAZY;
}

static void test_good(void)
{
	struct cmdline c;

	is_u64(parse(NULL, &c), 0, "no command line");
	ok(is_default(&c), "gives the defaults");
	is_u64(parse("   \t ", &c), 0, "blanks only");
	is_u64(parse("console=com2,9600 loglevel=debug\tafter=poweroff  selftest "
		     "unmap=range-nofwb flush=eager",
		     &c),
	       0, "every key");
	is_str(reports, "", "nothing to report");
	is_str(c.console, "com2,9600", "console");
	ok(c.loglevel == LOG_DEBUG && c.after == AFTER_POWEROFF && c.selftest &&
		   c.unmap == UNMAP_RANGE_NOFWB && c.flush == FLUSH_EAGER,
	   "values arrive");
	parse("after=reboot after=monitor", &c);
	ok(c.after == AFTER_MONITOR, "the last one counts");
}

static void test_bad(void)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"quiet", "command line: unknown word 'quiet'\n"},
		{"foo=bar", "command line: unknown word 'foo=bar'\n"},
		{"=", "command line: unknown word '='\n"},
		{"after=never",
		 "command line: after=never: expected monitor, poweroff or reboot\n"},
		{"after", "command line: after: expected monitor, poweroff or reboot\n"},
		{"after=", "command line: after=: expected monitor, poweroff or reboot\n"},
		{"loglevel=7", "command line: loglevel=7: expected error, warn, info or debug\n"},
		{"selftest=yes", "command line: selftest=yes: expected no value\n"},
		{"console=", "command line: console=: expected a console such as com1,115200 or "
			     "auto\n"},
		{"AFTER=reboot", "command line: unknown word 'AFTER=reboot'\n"},
	};
	struct cmdline c;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		is_u64(parse(cases[i].text, &c), 1, cases[i].text);
		is_str(reports, cases[i].says, "is reported");
		ok(is_default(&c), "and changes nothing");
	}
	is_u64(parse("what after=reboot ever", &c), 2, "two bad words");
	ok(c.after == AFTER_REBOOT, "do not hide the good one");
}

static void test_long(void)
{
	static char text[20000];
	struct cmdline c;

	memset(text, 'x', sizeof(text) - 1);
	is_u64(parse(text, &c), 1, "a word of 20,000 characters is one problem");
	ok(strlen(reports) < 300, "told in one line");
	memcpy(text, "console=", 8);
	is_u64(parse(text, &c), 1, "a console that does not fit is refused");
	is_str(c.console, "", "not cut");
}

static void test_levels(void)
{
	enum log_level l;
	bool good = true;

	for (int i = LOG_ERR; i <= LOG_DEBUG; i++)
		good = good && cmdline_loglevel(cmdline_loglevel_name((enum log_level)i), &l) &&
		       l == (enum log_level)i;
	ok(good, "names of levels and back");
}

int main(void)
{
	test_good();
	test_bad();
	test_long();
	test_levels();
	return tap_done();
}
