/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linked into every killer: a failed check is seen at once, and a mutant that hangs ends soon. The
 * limit is processor time, so that a busy machine kills nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>

static __attribute__((constructor)) void limit(void)
{
	const char *text = getenv("BAD_CPU_MS");
	long ms = text ? strtol(text, NULL, 10) : 0;
	struct rlimit core = {0, 0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_CORE, &core);
	if (ms > 0) {
		rlim_t seconds = (rlim_t)ms / 1000 + 1;
		struct itimerval timer = {.it_value = {ms / 1000, ms % 1000 * 1000}};
		struct rlimit cpu = {seconds, seconds + 1};

		setitimer(ITIMER_PROF, &timer, NULL); /* this process */
		setrlimit(RLIMIT_CPU, &cpu);	      /* its children too */
	}
}
