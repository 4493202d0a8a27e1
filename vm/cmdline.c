/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's command line: a table of keys, each with a function for its value. */
#include "vm/cmdline.h"

#include <stdbool.h>
#include <stddef.h>

#include "lib/format.h"
#include "lib/string.h"
#include "lib/util.h"

#define WORD_MAX 128 /* with the NUL; no word that is understood comes near */

struct choice {
	const char *name;
	int value;
};

/* The end of each table is a NULL name. */
static const struct choice loglevels[] = {{"error", LOG_ERR},
					  {"warn", LOG_WARN},
					  {"info", LOG_INFO},
					  {"debug", LOG_DEBUG},
					  {NULL, 0}};
static const struct choice afters[] = {{"monitor", AFTER_MONITOR},
				       {"poweroff", AFTER_POWEROFF},
				       {"reboot", AFTER_REBOOT},
				       {NULL, 0}};
static const struct choice unmaps[] = {{"auto", UNMAP_AUTO},
				       {"page", UNMAP_PAGE},
				       {"range", UNMAP_RANGE},
				       {"range-nofwb", UNMAP_RANGE_NOFWB},
				       {NULL, 0}};
static const struct choice flushes[] = {{"lazy", FLUSH_LAZY}, {"eager", FLUSH_EAGER}, {NULL, 0}};

static bool choose(const struct choice *from, const char *value, int *out)
{
	for (; from->name; from++) {
		if (strcmp(from->name, value) == 0) {
			*out = from->value;
			return true;
		}
	}
	return false;
}

bool cmdline_loglevel(const char *name, enum log_level *out)
{
	int v;

	if (!choose(loglevels, name, &v))
		return false;
	*out = (enum log_level)v;
	return true;
}

const char *cmdline_loglevel_name(enum log_level level)
{
	return loglevels[level].name; /* the table is in the order of the levels */
}

/* Each takes the value ("" when the word has none) and returns false when it is not one. */
static bool set_console(struct cmdline *c, const char *value)
{
	return value[0] != '\0' && str_copy(c->console, sizeof(c->console), value);
}

static bool set_loglevel(struct cmdline *c, const char *value)
{
	return cmdline_loglevel(value, &c->loglevel);
}

static bool set_after(struct cmdline *c, const char *value)
{
	int v;

	if (!choose(afters, value, &v))
		return false;
	c->after = (enum after)v;
	return true;
}

static bool set_unmap(struct cmdline *c, const char *value)
{
	int v;

	if (!choose(unmaps, value, &v))
		return false;
	c->unmap = (enum unmap_policy)v;
	return true;
}

static bool set_flush(struct cmdline *c, const char *value)
{
	int v;

	if (!choose(flushes, value, &v))
		return false;
	c->flush = (enum flush_policy)v;
	return true;
}

static bool set_selftest(struct cmdline *c, const char *value)
{
	c->selftest = true;
	return value[0] == '\0';
}

static const struct key {
	const char *name;
	const char *expected;
	bool (*set)(struct cmdline *c, const char *value);
} keys[] = {
	{"console", "a console such as com1,115200 or auto", set_console},
	{"loglevel", CMDLINE_LOGLEVELS, set_loglevel},
	{"after", "monitor, poweroff or reboot", set_after},
	{"selftest", "no value", set_selftest},
	{"unmap", "auto, page, range or range-nofwb", set_unmap},
	{"flush", "lazy or eager", set_flush},
};

/* 0 or 1: the number of problems. `word` is changed. */
static unsigned parse_word(char *word, struct cmdline *out, cmdline_report_fn *report, void *ctx)
{
	char msg[WORD_MAX + 128];
	char *value = strchr(word, '=');

	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct cmdline before = *out;

		if (strcmp(keys[i].name, word) != 0)
			continue;
		if (keys[i].set(out, value ? value : ""))
			return 0;
		*out = before;
		snprintf(msg, sizeof(msg), "command line: %s%s%s: expected %s", word,
			 value ? "=" : "", value ? value : "", keys[i].expected);
		report(ctx, msg);
		return 1;
	}
	snprintf(msg, sizeof(msg), "command line: unknown word '%s%s%s'", word, value ? "=" : "",
		 value ? value : "");
	report(ctx, msg);
	return 1;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

unsigned cmdline_parse(const char *text, struct cmdline *out, cmdline_report_fn *report, void *ctx)
{
	unsigned problems = 0;

	*out = (struct cmdline){.loglevel = LOG_INFO};
	for (const char *p = text ? text : ""; *p;) {
		char word[WORD_MAX];
		size_t len = 0;

		if (is_blank(*p)) {
			p++;
			continue;
		}
		while (p[len] && !is_blank(p[len]))
			len++;
		/* A word that is cut here matches nothing and is reported with its beginning. */
		str_copy(word, len + 1 < sizeof(word) ? len + 1 : sizeof(word), p);
		problems += parse_word(word, out, report, ctx);
		p += len;
	}
	return problems;
}
