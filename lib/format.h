/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Formatted output into a buffer. A subset of ISO C: flags `-`, `0` and `#` (for x), width (also
 * *), precision (for %s and integers), length hh h l ll z j t, conversions d i u x X c s p %.
 * Returns the length the whole text would have; the buffer is always terminated when size > 0.
 */
#ifndef SLUICE_LIB_FORMAT_H
#define SLUICE_LIB_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

#if __STDC_HOSTED__ && !defined(FORMAT_TESTED)
#include <stdio.h>
#else
__attribute__((format(printf, 3, 4))) int snprintf(char *buf, size_t size, const char *fmt, ...);
__attribute__((format(printf, 3, 0))) int vsnprintf(char *buf, size_t size, const char *fmt,
						    va_list ap);
#endif

/* As snprintf, but appends at *used and moves it; never past `size`. For reports built line by
 * line. */
__attribute__((format(printf, 4, 5))) void str_append(char *buf, size_t size, size_t *used,
						      const char *fmt, ...);

#endif
