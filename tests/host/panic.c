/* SPDX-License-Identifier: BSD-2-Clause */
/* panic on the host: says what is broken and aborts, which the test runner counts as a failure. */
#include "lib/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void panic(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}
