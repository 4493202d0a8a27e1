/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The freestanding vsnprintf against the C library's. The source is compiled here under other names
 * and as if there were no C library: elsewhere on the host the library's own would be tested.
 */
#include "tests/tap.h"

#include <limits.h>
#include <stdlib.h>

#define FORMAT_TESTED
#define snprintf   our_snprintf
#define vsnprintf  our_vsnprintf
#define str_append our_str_append
#include "lib/format.h"
#include "lib/format.c"
#undef snprintf
#undef vsnprintf
#undef str_append

/* The same arguments through both, into every size of buffer from 0 to more than the text needs. */
#define SAME(...)                                                                                  \
	do {                                                                                       \
		char want[128], got[128];                                                          \
		int n = snprintf(want, sizeof(want), __VA_ARGS__), wrong = 0;                      \
		for (size_t size = 0; size < sizeof(got); size++) {                                \
			memset(got, '~', sizeof(got));                                             \
			wrong += our_snprintf(got, size, __VA_ARGS__) != n;                        \
			if (size > 0 && size <= (size_t)n)                                         \
				wrong += memcmp(got, want, size - 1) != 0 || got[size - 1] != 0;   \
			else if (size > 0)                                                         \
				wrong += strcmp(got, want) != 0;                                   \
			wrong += got[size] != '~';                                                 \
		}                                                                                  \
		ok(wrong == 0, "\"%s\"", want);                                                    \
	} while (0)

static void test_conversions(void)
{
	SAME("plain");
	SAME("%d %i %u", -5, 0, 7u);
	SAME("%d %d", INT_MIN, INT_MAX);
	SAME("%ld %lld", LONG_MIN, LLONG_MAX);
	SAME("%lu %llu %zu", ULONG_MAX, ULLONG_MAX, (size_t)12);
	SAME("%x %X %lx", 0xbeefu, 0xbeefu, 0x123456789abcdefUL);
	SAME("%#x %#lx %#x", 0x10u, 0x20UL, 0u);
	SAME("%hhu %hu %hhd %hd", (unsigned char)200, (unsigned short)60000, (signed char)-3,
	     (short)-4);
	SAME("%p", (void *)0x1000);
	SAME("%c%c%%", 'a', 'b');
	SAME("[%s] [%10s] [%-10s]", "text", "right", "left");
	SAME("[%.3s] [%.0s] [%*s] [%.*s]", "cut off", "gone", 6, "star", 2, "dots");
	SAME("[%5d] [%-5d] [%05d] [%05d]", 42, 42, 42, -42);
	SAME("[%08x] [%-8x] [%#010x]", 0xabcu, 0xabcu, 0xabcu);
	SAME("[%.5d] [%8.5d] [%-8.5u]", 12, -12, 12u);
	SAME("%5zu %016lx", (size_t)3, 0xdeadUL);
	SAME("%jd %td", (intmax_t)-9, (ptrdiff_t)9);
}

static void test_random(void)
{
	static const char *const formats[] = {"%*d|%.*x", "%-*d|%.*u", "%0*d|%#.*x"};
	unsigned wrong = 0, n = 20000;

	srand(1);
	for (unsigned i = 0; i < n; i++) {
		const char *f = formats[i % 3];
		int width = rand() % 20, precision = rand() % 20, v = rand() - RAND_MAX / 2;
		char want[128], got[128];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		int a = snprintf(want, sizeof(want), f, width, v, precision, (unsigned)v);
		int b = our_snprintf(got, sizeof(got), f, width, v, precision, (unsigned)v);
#pragma GCC diagnostic pop

		wrong += a != b || strcmp(want, got) != 0;
	}
	is_u64(wrong, 0, "20,000 random widths, precisions and numbers");
}

static void test_append(void)
{
	const char *volatile nothing = NULL; /* volatile: the compiler must not know */
	char buf[8];
	size_t used = 0;

	our_str_append(buf, sizeof(buf), &used, "%s", "abc");
	our_str_append(buf, sizeof(buf), &used, "%s", "def");
	is_str(buf, "abcdef", "appended");
	our_str_append(buf, sizeof(buf), &used, "%s", "ghi");
	is_str(buf, "abcdefg", "cut at the end");
	is_u64(used, 7, "and the length says so");
	our_str_append(buf, sizeof(buf), &used, "%s", "more");
	is_u64(used, 7, "nothing more fits");
	our_snprintf(buf, sizeof(buf), "%s", nothing);
	is_str(buf, "(null)", "a null string");
}

int main(void)
{
	test_conversions();
	test_random();
	test_append();
	return tap_done();
}
