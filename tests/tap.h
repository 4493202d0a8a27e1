/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Test Anything Protocol for unit tests: one line per check, the plan at the end, exit status 1
 * when something failed or when nothing was checked at all.
 */
#ifndef SLUICE_TESTS_TAP_H
#define SLUICE_TESTS_TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static unsigned tap_count, tap_failed;

__attribute__((format(printf, 4, 5), unused)) static bool tap_ok(bool cond, const char *file,
								 int line, const char *fmt, ...)
{
	va_list ap;

	tap_count++;
	tap_failed += !cond;
	printf("%sok %u - ", cond ? "" : "not ", tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (!cond)
		printf("# failed at %s:%d\n", file, line);
	return cond;
}

__attribute__((unused)) static bool tap_is_u64(uint64_t got, uint64_t want, const char *file,
					       int line, const char *name)
{
	if (tap_ok(got == want, file, line, "%s", name))
		return true;
	printf("#   got %#" PRIx64 " (%" PRIu64 "), want %#" PRIx64 " (%" PRIu64 ")\n", got, got,
	       want, want);
	return false;
}

__attribute__((unused)) static bool tap_is_str(const char *got, const char *want, const char *file,
					       int line, const char *name)
{
	if (tap_ok(got && strcmp(got, want) == 0, file, line, "%s", name))
		return true;
	printf("#   got \"%s\"\n#  want \"%s\"\n", got ? got : "(null)", want);
	return false;
}

#define ok(cond, ...)		tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_u64(got, want, name) tap_is_u64((got), (want), __FILE__, __LINE__, (name))
#define is_str(got, want, name) tap_is_str((got), (want), __FILE__, __LINE__, (name))

/* A check that could not run; TAP counts it as passed, our harness as skipped. */
__attribute__((unused)) static void skip(const char *name, const char *why)
{
	printf("ok %u - %s # SKIP %s\n", ++tap_count, name, why);
}

/* Prints the plan; the return value of main(). */
__attribute__((unused)) static int tap_done(void)
{
	printf("1..%u\n", tap_count);
	if (tap_count == 0)
		printf("# no check ran\n");
	return tap_failed != 0 || tap_count == 0;
}

#endif
