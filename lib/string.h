/* SPDX-License-Identifier: BSD-2-Clause */
/* The string functions that the compiler and the hypervisor use; ISO C semantics unless said
 * otherwise. */
#ifndef SLUICE_LIB_STRING_H
#define SLUICE_LIB_STRING_H

#include <stdbool.h>
#include <stddef.h>

#if __STDC_HOSTED__
#include <string.h>
#else
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t n);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
#endif

/*
 * Copies `src` into dst[0..size), always terminated when size > 0.
 * Returns false when it had to be cut short.
 */
bool str_copy(char *dst, size_t size, const char *src);

/* True when `s` begins with `prefix`. */
bool str_starts(const char *s, const char *prefix);

#endif
