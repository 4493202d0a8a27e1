/* SPDX-License-Identifier: BSD-2-Clause */
/* Formatted output into a buffer; what the subset is, the header says. */
#include "lib/format.h"

#include "lib/string.h"

#include <stdbool.h>
#include <stdint.h>

#if !__STDC_HOSTED__ || defined(FORMAT_TESTED)

struct out {
	char *buf;
	size_t size;
	size_t len; /* of the whole text, cut or not */
};

/* One conversion: %[-0#][width][.precision][length]conv */
struct spec {
	bool left, zero, prefix;
	int width;
	int precision; /* -1: none given */
	int length;    /* bytes of the integer argument */
	char conv;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_repeated(struct out *o, char c, int n)
{
	while (n-- > 0)
		put(o, c);
}

static void put_padded(struct out *o, const struct spec *s, const char *text, int len)
{
	if (!s->left)
		put_repeated(o, ' ', s->width - len);
	for (int i = 0; i < len; i++)
		put(o, text[i]);
	if (s->left)
		put_repeated(o, ' ', s->width - len);
}

/* `prefix` ("-", "0x" or "") goes before the zeroes. */
static void put_number(struct out *o, const struct spec *s, uint64_t v, const char *prefix)
{
	const char *digits = s->conv == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	unsigned base = s->conv == 'd' || s->conv == 'i' || s->conv == 'u' ? 10 : 16;
	char rev[24];
	int n = 0, plen = (int)strlen(prefix), zeroes = 0;

	do {
		rev[n++] = digits[v % base];
		v /= base;
	} while (v);
	if (s->precision > n)
		zeroes = s->precision - n;
	else if (s->zero && !s->left && s->precision < 0 && s->width > n + plen)
		zeroes = s->width - n - plen;
	if (!s->left)
		put_repeated(o, ' ', s->width - n - plen - zeroes);
	for (int i = 0; i < plen; i++)
		put(o, prefix[i]);
	put_repeated(o, '0', zeroes);
	for (int i = n; i-- > 0;)
		put(o, rev[i]);
	if (s->left)
		put_repeated(o, ' ', s->width - n - plen - zeroes);
}

static int read_int(const char **fmt)
{
	int v = 0;

	while (**fmt >= '0' && **fmt <= '9' && v < 100000)
		v = v * 10 + *(*fmt)++ - '0';
	return v;
}

static int read_length(const char **fmt)
{
	switch (**fmt) {
	case 'h':
		(*fmt)++;
		if (**fmt != 'h')
			return 2;
		(*fmt)++;
		return 1;
	case 'l':
		(*fmt)++;
		if (**fmt == 'l')
			(*fmt)++;
		return 8;
	case 'z':
	case 'j':
	case 't':
		(*fmt)++;
		return 8;
	default:
		return 4;
	}
}

static void put_signed(struct out *o, const struct spec *s, int64_t v)
{
	if (s->length == 1)
		v = (int8_t)v;
	else if (s->length == 2)
		v = (int16_t)v;
	put_number(o, s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0 ? "-" : "");
}

static void put_unsigned(struct out *o, const struct spec *s, uint64_t v)
{
	if (s->length == 1)
		v = (uint8_t)v;
	else if (s->length == 2)
		v = (uint16_t)v;
	if (!s->prefix || v == 0)
		put_number(o, s, v, "");
	else
		put_number(o, s, v, s->conv == 'x' ? "0x" : s->conv == 'X' ? "0X" : "");
}

static void put_string(struct out *o, const struct spec *s, const char *text)
{
	size_t max = s->precision < 0 ? SIZE_MAX : (size_t)s->precision;

	if (!text)
		text = "(null)";
	put_padded(o, s, text, (int)strnlen(text, max));
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {.buf = buf, .size = size};

	while (*fmt) {
		struct spec s = {.precision = -1};
		char c;

		if (*fmt != '%') {
			put(&o, *fmt++);
			continue;
		}
		for (fmt++; *fmt == '-' || *fmt == '0' || *fmt == '#'; fmt++)
			*(*fmt == '-' ? &s.left : *fmt == '0' ? &s.zero : &s.prefix) = true;
		if (*fmt == '*') {
			fmt++;
			s.width = va_arg(ap, int);
		} else {
			s.width = read_int(&fmt);
		}
		if (*fmt == '.') {
			fmt++;
			if (*fmt == '*') {
				fmt++;
				s.precision = va_arg(ap, int);
			} else {
				s.precision = read_int(&fmt);
			}
		}
		s.length = read_length(&fmt);
		s.conv = *fmt;
		if (*fmt)
			fmt++;
		switch (s.conv) {
		case 'd':
		case 'i':
			put_signed(&o, &s, s.length == 8 ? va_arg(ap, int64_t) : va_arg(ap, int));
			break;
		case 'u':
		case 'x':
		case 'X':
			put_unsigned(&o, &s,
				     s.length == 8 ? va_arg(ap, uint64_t) : va_arg(ap, unsigned));
			break;
		case 'p':
			put_number(&o, &s, (uintptr_t)va_arg(ap, void *), "0x");
			break;
		case 's':
			put_string(&o, &s, va_arg(ap, const char *));
			break;
		case 'c':
			c = (char)va_arg(ap, int);
			put_padded(&o, &s, &c, 1);
			break;
		default:
			put(&o, s.conv == '%' ? '%' : '?');
			break;
		}
	}
	if (size > 0)
		buf[o.len < size ? o.len : size - 1] = 0;
	return (int)o.len;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}

#endif

void str_append(char *buf, size_t size, size_t *used, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (*used >= size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(buf + *used, size - *used, fmt, ap);
	va_end(ap);
	if (n > 0)
		*used = *used + (size_t)n < size ? *used + (size_t)n : size - 1;
}
