/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The model's command line and report.
 *
 *   model [--short] [--arch npt|ept|arm64] [--only SCENARIO] [--replay SCHEDULE]
 *
 * TAP: a line per scenario, a line per invariant that has to fall when flushes or waits are off,
 * a line per rule of the TLB that has to have been used.
 */
#include "tests/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/util.h"
#include "tests/tap.h"

static const char *const arch_name[NR_ARCHS] = {"npt", "ept", "arm64"};

const char *const rule_name[NR_RULES] = {
	[RULE_STALE_LEAF] = "stale leaf",
	[RULE_STALE_COMBINED] = "stale combined translation",
	[RULE_WALK_CACHE] = "stale pointer to a table",
	[RULE_SPECULATIVE] = "fill from an intermediate state",
	[RULE_DEAD_TABLE] = "walk through a stale pointer into a dead table",
	[RULE_DEAD_AD] = "A/D update attempted in a dead table",
	[RULE_LATE_WALK] = "walk after the exit",
	[RULE_STORE_DELAYED] = "load past a store in another pCPU's buffer",
	[RULE_OLD_STORE] = "walk sees an entry's old value",
	[RULE_SIBLING] = "two vCPUs under one tag",
};

/* Rules that an architecture has. */
static const unsigned rules_of[NR_ARCHS] = {
	[ARCH_NPT] = BIT(RULE_STALE_LEAF) | BIT(RULE_STALE_COMBINED) | BIT(RULE_WALK_CACHE) |
		     BIT(RULE_SPECULATIVE) | BIT(RULE_DEAD_TABLE) | BIT(RULE_DEAD_AD) |
		     BIT(RULE_STORE_DELAYED),
	[ARCH_EPT] = BIT(RULE_STALE_LEAF) | BIT(RULE_STALE_COMBINED) | BIT(RULE_WALK_CACHE) |
		     BIT(RULE_SPECULATIVE) | BIT(RULE_DEAD_TABLE) | BIT(RULE_DEAD_AD) |
		     BIT(RULE_STORE_DELAYED),
	[ARCH_ARM64] = BIT(RULE_STALE_LEAF) | BIT(RULE_STALE_COMBINED) | BIT(RULE_WALK_CACHE) |
		       BIT(RULE_SPECULATIVE) | BIT(RULE_DEAD_TABLE) | BIT(RULE_DEAD_AD) |
		       BIT(RULE_STORE_DELAYED) | BIT(RULE_LATE_WALK) | BIT(RULE_OLD_STORE),
};

/* What has to fall when flushes, or waits for agents, do nothing. */
static const unsigned falls[NR_ARCHS] = {
	[ARCH_NPT] = BIT(I1) | BIT(I2) | BIT(I3) | BIT(I4) | BIT(I5) | BIT(I6) | BIT(I8) |
		     BIT(I10) | BIT(I11) | BIT(I12),
	[ARCH_EPT] = BIT(I1) | BIT(I2) | BIT(I3) | BIT(I4) | BIT(I5) | BIT(I6) | BIT(I8) |
		     BIT(I10) | BIT(I11) | BIT(I12),
	[ARCH_ARM64] = BIT(I1) | BIT(I2) | BIT(I3) | BIT(I4) | BIT(I5) | BIT(I6) | BIT(I10) |
		       BIT(I11) | BIT(I12),
};

struct options {
	bool brief;
	enum arch arch;
	const char *only, *replay;
};

/* The search's effort, in executions, so that results repeat on any machine. */
struct effort {
	uint64_t exhaustive, bounded, random, control;
	unsigned bound;
};

static const struct effort brief = {.bounded = 3000, .random = 300, .control = 60, .bound = 2};
static const struct effort full = {
	.exhaustive = 30000, .bounded = 20000, .random = 3000, .control = 200, .bound = 3};

/* On the heap, as all that outlives an execution; the counts of tests/tap.h are kept here too. */
struct report {
	uint64_t rules[NR_RULES], checks[NR_I], executions, states;
	unsigned tap_count, tap_failed;
};

static struct report *R;

__attribute__((format(printf, 2, 3))) static bool report(bool passed, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	tap_count = R->tap_count;
	tap_failed = R->tap_failed;
	ok(passed, "%s", text);
	R->tap_count = tap_count;
	R->tap_failed = tap_failed;
	return passed;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add_stats(void)
{
	for (unsigned i = 0; i < NR_RULES; i++)
		R->rules[i] += X->stat.rules[i];
	for (unsigned i = 0; i < NR_I; i++)
		R->checks[i] += X->stat.checks[i];
	R->executions += X->stat.executions;
	R->states += X->stat.states;
	memset(&X->stat, 0, sizeof(X->stat));
}

/* All interleavings if that ends soon, else bounded preemptions; then random ones. */
static struct result search(const struct effort *e, const char **how)
{
	struct result r = {0};

	*how = "all interleavings";
	if (e->exhaustive) {
		r = explore(MODE_EXHAUSTIVE, 0, e->exhaustive, 0);
		add_stats();
	}
	if (!r.violated && !r.complete) {
		r = explore(MODE_BOUNDED, e->bound, e->bounded, 0);
		*how = r.complete ? "all within the preemption bound, and random"
				  : "first within the preemption bound, and random";
		add_stats();
	}
	if (!r.violated) {
		bool complete = r.complete;

		r = explore(MODE_RANDOM, 0, e->random, 1);
		r.complete = complete;
		add_stats();
	}
	return r;
}

static void run_scenario(const struct scenario *s, const struct options *o)
{
	const struct effort *e = o->brief ? &brief : &full;
	uint64_t executions_before = R->executions, states_before = R->states;
	double start = now();
	const char *how;
	struct result r;

	explorer_scenario(s, 0);
	r = search(e, &how);
	if (s->bad) {
		report(r.violated == s->bad, "%s/%s: %s is seen (%s)", arch_name[o->arch], s->name,
		       invariant_name[s->bad], s->about);
		if (r.violated == s->bad)
			return;
	} else {
		report(!r.violated, "%s/%s: %s", arch_name[o->arch], s->name, s->about);
	}
	printf("#   %s: %llu executions, %llu states, %.1f s\n", how,
	       (unsigned long long)(R->executions - executions_before),
	       (unsigned long long)(R->states - states_before), now() - start);
	if (!r.violated)
		return;
	printf("# %s violated: %s\n", invariant_name[r.violated], r.message);
	explain(&r);
	printf("# again: --arch %s --only %s --replay '%s'\n", arch_name[o->arch], s->name,
	       r.schedule);
}

/* With the knob turned, which invariants fall? */
static unsigned fallen(const struct options *o, unsigned knob, uint64_t effort)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < nr_scenarios; i++) {
		const struct scenario *s = &scenarios[i];

		if (!(s->archs & BIT(o->arch)) || s->bad)
			continue;
		explorer_scenario(s, knob | KNOB_COLLECT);
		explore(MODE_BOUNDED, 1, effort * 4, 0);
		explore(MODE_RANDOM, 0, effort, 1);
		for (unsigned n = I1; n <= I12; n++)
			if (X->stat.violations[n])
				seen |= (unsigned)BIT(n);
	}
	return seen;
}

static void run_controls(const struct options *o)
{
	uint64_t effort = o->brief ? brief.control : full.control;
	unsigned flush = fallen(o, KNOB_NO_FLUSH, effort), wait = fallen(o, KNOB_NO_WAIT, effort);

	for (unsigned n = I1; n <= I12; n++) {
		if (!(falls[o->arch] & BIT(n)))
			continue;
		report((flush | wait) & BIT(n), "%s: %s falls without %s", arch_name[o->arch],
		       invariant_name[n],
		       flush & BIT(n)  ? wait & BIT(n) ? "flushes, and without waits" : "flushes"
		       : wait & BIT(n) ? "waits"
				       : "flushes or waits (it does not: the check is blind)");
	}
}

static void run_rules(const struct options *o)
{
	for (unsigned i = 0; i < NR_RULES; i++)
		if (rules_of[o->arch] & BIT(i))
			report(R->rules[i] > 0, "%s: %s: %llu times", arch_name[o->arch],
			       rule_name[i], (unsigned long long)R->rules[i]);
}

static bool parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;

		if (strcmp(argv[i], "--short") == 0)
			o->brief = true;
		else if (strcmp(argv[i], "--only") == 0 && more)
			o->only = argv[++i];
		else if (strcmp(argv[i], "--replay") == 0 && more)
			o->replay = argv[++i];
		else if (strcmp(argv[i], "--arch") == 0 && more) {
			i++;
			for (o->arch = ARCH_NPT; o->arch < NR_ARCHS; o->arch++)
				if (strcmp(argv[i], arch_name[o->arch]) == 0)
					break;
			if (o->arch == NR_ARCHS)
				return false;
		} else {
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	double start = now();

	if (!parse(argc, argv, &o)) {
		fprintf(stderr, "usage: model [--short] [--arch npt|ept|arm64] [--only SCENARIO] "
				"[--replay SCHEDULE]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	trace_init();
	R = calloc(1, sizeof(*R));
	explorer_init(o.arch);
	for (unsigned i = 0; i < nr_scenarios; i++) {
		const struct scenario *s = &scenarios[i];

		if (!(s->archs & BIT(o.arch)) || (o.only && strcmp(o.only, s->name) != 0))
			continue;
		if (o.replay) {
			explorer_scenario(s, 0);
			printf("# %s\n", invariant_name[replay(o.replay)]);
			return 0;
		}
		run_scenario(s, &o);
	}
	if (!o.only) {
		run_rules(&o);
		run_controls(&o);
	}
	printf("# %s: %llu executions, %llu states,", arch_name[o.arch],
	       (unsigned long long)R->executions, (unsigned long long)R->states);
	for (unsigned n = I1; n <= I12; n++)
		if (R->checks[n])
			printf(" %s %llu", invariant_name[n], (unsigned long long)R->checks[n]);
	printf(" checks, %.0f s\n", now() - start);
	tap_count = R->tap_count;
	tap_failed = R->tap_failed;
	return tap_done();
}
