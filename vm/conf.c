/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Parser of the guests file. One pass, one line at a time, nothing allocated: a guest is built in
 * the next free place of the caller's array and counted only when its section ended without a
 * mistake.
 */
#include "vm/conf.h"

#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/types.h"

#define REPORT_SIZE 240 /* of one message with its NUL */
#define QUOTE_MAX   40	/* characters of the file repeated in a message */

/* Part of the text; not terminated. */
struct slice {
	const char *s;
	size_t len;
};

struct parser {
	const char *filename;
	unsigned line;
	struct guest_conf *out;
	size_t max, count;
	struct guest_conf *guest; /* the section being read; NULL: none, or one that is skipped */
	bool in_section;	  /* a section of any kind has begun */
	bool broken;		  /* a mistake was found in this guest */
	unsigned seen;		  /* bit n: keys[n] was given */
	unsigned reports;
	conf_report_fn *report;
	void *ctx;
};

static void complain(struct parser *p, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A mistake at `line`: the guest being read is lost, parsing goes on. */
static void complain(struct parser *p, unsigned line, const char *fmt, ...)
{
	char msg[REPORT_SIZE];
	size_t used = 0;
	va_list ap;

	p->broken = true;
	p->reports++;
	if (p->reports > CONF_REPORTS_MAX + 1)
		return;
	str_append(msg, sizeof(msg), &used, "%s:%u: ", p->filename, line);
	if (p->reports > CONF_REPORTS_MAX) {
		str_append(msg, sizeof(msg), &used, "further problems are not listed");
	} else {
		va_start(ap, fmt);
		vsnprintf(msg + used, sizeof(msg) - used, fmt, ap);
		va_end(ap);
	}
	p->report(p->ctx, line, msg);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
	       c == '_' || c == '.';
}

static struct slice slice_trim(struct slice t)
{
	while (t.len != 0 && is_blank(t.s[0])) {
		t.s++;
		t.len--;
	}
	while (t.len != 0 && is_blank(t.s[t.len - 1]))
		t.len--;
	return t;
}

static bool slice_is(struct slice t, const char *word)
{
	return strlen(word) == t.len && memcmp(t.s, word, t.len) == 0;
}

/*
 * Takes the text up to the next `sep` off the front of *t; the separator goes as well. True when
 * there was one.
 */
static bool slice_split(struct slice *t, char sep, struct slice *head)
{
	const char *end = t->len != 0 ? memchr(t->s, sep, t->len) : NULL;
	size_t gone = end != NULL ? (size_t)(end - t->s) + 1 : t->len;

	*head = (struct slice){t->s, end != NULL ? gone - 1 : gone};
	t->s += gone;
	t->len -= gone;
	return end != NULL;
}

/* Takes the first word off the front of *t, with the blanks around it. */
static struct slice slice_word(struct slice *t)
{
	struct slice word = slice_trim(*t);
	size_t n = 0;

	while (n < word.len && !is_blank(word.s[n]))
		n++;
	*t = slice_trim((struct slice){word.s + n, word.len - n});
	word.len = n;
	return word;
}

/* Cuts a comment off: ';' or '#' at the start or after a blank. */
static struct slice slice_uncomment(struct slice t)
{
	for (size_t i = 0; i < t.len; i++) {
		bool mark = t.s[i] == ';' || t.s[i] == '#';

		if (mark && (i == 0 || is_blank(t.s[i - 1]))) {
			t.len = i;
			break;
		}
	}
	return slice_trim(t);
}

/* For "%.*s": the part of the slice that a message repeats. */
static int quote_len(struct slice t)
{
	return (int)min_u64(t.len, QUOTE_MAX);
}

/*
 * Copies a value to dst[0..size), taking the backslashes of a quoted one away.
 * False when it does not fit.
 */
static bool value_copy(char *dst, size_t size, struct slice v, bool quoted)
{
	size_t n = 0;

	for (size_t i = 0; i < v.len; i++) {
		if (quoted && v.s[i] == '\\' && i + 1 < v.len &&
		    (v.s[i + 1] == '"' || v.s[i + 1] == '\\'))
			i++;
		if (n + 1 >= size)
			return false;
		dst[n++] = v.s[i];
	}
	dst[n] = '\0';
	return true;
}

/* A decimal number of digits only. */
static bool parse_u64(struct slice t, uint64_t *out)
{
	uint64_t v = 0;

	if (t.len == 0)
		return false;
	for (size_t i = 0; i < t.len; i++) {
		if (!is_digit(t.s[i]) || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(t.s[i] - '0'), &v))
			return false;
	}
	*out = v;
	return true;
}

static bool parse_size(struct slice t, uint64_t *bytes)
{
	uint64_t unit = 1, v;

	if (t.len == 0)
		return false;
	switch (t.s[t.len - 1]) {
	case 'k':
	case 'K':
		unit = KIB;
		break;
	case 'm':
	case 'M':
		unit = MIB;
		break;
	case 'g':
	case 'G':
		unit = GIB;
		break;
	default:
		break;
	}
	if (unit != 1)
		t.len--;
	return parse_u64(t, &v) && !__builtin_mul_overflow(v, unit, bytes);
}

bool conf_parse_size(const char *s, uint64_t *bytes)
{
	return parse_size((struct slice){s, strlen(s)}, bytes);
}

/* What stands right of a '='. `text` is without the quotes, but still has its backslashes. */
struct value {
	struct slice text;
	bool quoted;
};

static void set_text(struct parser *p, const char *key, char *dst, size_t size, struct value v)
{
	if (!value_copy(dst, size, v.text, v.quoted))
		complain(p, p->line, "%s is too long, expected at most %zu characters", key,
			 size - 1);
}

static void set_path(struct parser *p, const char *key, char *dst, struct value v)
{
	set_text(p, key, dst, CONF_PATH_MAX, v);
	if (v.text.len == 0)
		complain(p, p->line, "%s is empty, expected a path", key);
	else if (memchr(v.text.s, ' ', v.text.len) != NULL ||
		 memchr(v.text.s, '\t', v.text.len) != NULL)
		complain(p, p->line, "%s is '%.*s', expected a path without blanks", key,
			 quote_len(v.text), v.text.s);
}

static void set_bool(struct parser *p, const char *key, bool *dst, struct value v)
{
	*dst = slice_is(v.text, "yes");
	if (!*dst && !slice_is(v.text, "no"))
		complain(p, p->line, "%s is '%.*s', expected yes or no", key, quote_len(v.text),
			 v.text.s);
}

static void set_kernel(struct parser *p, struct value v)
{
	set_path(p, "kernel", p->guest->kernel, v);
}

static void set_initrd(struct parser *p, struct value v)
{
	set_path(p, "initrd", p->guest->initrd, v);
}

static void set_cmdline(struct parser *p, struct value v)
{
	set_text(p, "cmdline", p->guest->cmdline, sizeof(p->guest->cmdline), v);
}

static void set_memory(struct parser *p, struct value v)
{
	uint64_t bytes;

	if (!parse_size(v.text, &bytes))
		complain(p, p->line, "memory is '%.*s', expected a size such as 512M or 2G",
			 quote_len(v.text), v.text.s);
	else if (bytes < CONF_MEMORY_MIN || bytes > CONF_MEMORY_LIMIT)
		complain(p, p->line, "memory is '%.*s', expected %lluM to %lluG", quote_len(v.text),
			 v.text.s, CONF_MEMORY_MIN / MIB, CONF_MEMORY_LIMIT / GIB);
	else if (!is_aligned(bytes, PAGE_SIZE))
		complain(p, p->line, "memory is '%.*s', expected a multiple of 4K",
			 quote_len(v.text), v.text.s);
	else
		p->guest->memory = bytes;
}

static void set_vcpus(struct parser *p, struct value v)
{
	uint64_t n;

	if (!parse_u64(v.text, &n) || n == 0 || n > MAX_VCPUS)
		complain(p, p->line, "vcpus is '%.*s', expected 1 to %d", quote_len(v.text),
			 v.text.s, MAX_VCPUS);
	else
		p->guest->vcpus = (unsigned)n;
}

static void set_autostart(struct parser *p, struct value v)
{
	set_bool(p, "autostart", &p->guest->autostart, v);
}

static void set_prealloc(struct parser *p, struct value v)
{
	set_bool(p, "prealloc", &p->guest->prealloc, v);
}

/* Numbers and ranges between commas: 0-1,4 */
static void set_cpu(struct parser *p, struct value v)
{
	struct slice rest = v.text, last, first;
	uint64_t lo, hi;
	bool more;

	do {
		more = slice_split(&rest, ',', &last);
		if (!slice_split(&last, '-', &first))
			last = first;
		if (!parse_u64(slice_trim(first), &lo) || !parse_u64(slice_trim(last), &hi) ||
		    lo > hi || hi >= CONF_CPUS_MAX) {
			complain(p, p->line,
				 "cpu is '%.*s', expected numbers below %d, such as 0-1,4",
				 quote_len(v.text), v.text.s, CONF_CPUS_MAX);
			return;
		}
		for (; lo <= hi; lo++)
			p->guest->cpus[lo / 64] |= BIT(lo % 64);
	} while (more);
}

static void set_devices(struct parser *p, struct value v)
{
	struct slice rest = v.text, item;
	bool more;

	do {
		more = slice_split(&rest, ',', &item);
		item = slice_trim(item);
		if (!slice_is(item, "debug-exit")) {
			complain(p, p->line, "device '%.*s' is not known, expected debug-exit",
				 quote_len(item), item.s);
			return;
		}
		p->guest->devices |= CONF_DEVICE_DEBUG_EXIT;
	} while (more);
}

static void set_module(struct parser *p, struct value v)
{
	struct guest_module *m;
	struct value path = v;

	if (p->guest->nr_modules == CONF_MODULES_MAX) {
		complain(p, p->line, "more modules than the %d that a guest can have",
			 CONF_MODULES_MAX);
		return;
	}
	m = &p->guest->modules[p->guest->nr_modules++];
	path.text = slice_word(&v.text);
	set_path(p, "module", m->name, path);
	set_text(p, "the arguments of a module", m->args, sizeof(m->args), v);
}

static const struct {
	const char *name;
	void (*set)(struct parser *p, struct value v);
	bool repeatable;
} keys[] = {
	{"kernel", set_kernel, false},	   {"initrd", set_initrd, false},
	{"cmdline", set_cmdline, false},   {"memory", set_memory, false},
	{"vcpus", set_vcpus, false},	   {"autostart", set_autostart, false},
	{"prealloc", set_prealloc, false}, {"cpu", set_cpu, false},
	{"devices", set_devices, false},   {"module", set_module, true},
};

/*
 * The value in `t`, which begins after the '='. False, after a complaint, when its quotes are
 * wrong.
 */
static bool parse_value(struct parser *p, struct slice t, struct value *v)
{
	size_t i = 1;

	t = slice_trim(t);
	v->quoted = t.len != 0 && t.s[0] == '"';
	if (!v->quoted) {
		v->text = slice_uncomment(t);
		return true;
	}
	while (i < t.len && t.s[i] != '"')
		i += t.s[i] == '\\' && i + 1 < t.len ? 2 : 1;
	if (i >= t.len) {
		complain(p, p->line, "a quoted value has no end, expected a '\"'");
		return false;
	}
	v->text = (struct slice){t.s + 1, i - 1};
	t.s += i + 1;
	t.len -= i + 1;
	if (t.len != 0 && (!is_blank(t.s[0]) || slice_uncomment(t).len != 0)) {
		complain(p, p->line, "text after a quoted value, expected a comment or nothing");
		return false;
	}
	return true;
}

static void parse_assignment(struct parser *p, struct slice t)
{
	struct slice key;
	bool has_value = slice_split(&t, '=', &key);
	struct value v;
	size_t i = 0;

	key = slice_trim(key);
	if (!has_value) {
		complain(p, p->line,
			 "'%.*s' is not understood, expected KEY = VALUE or [guest NAME]",
			 quote_len(key), key.s);
		return;
	}
	if (!p->in_section) {
		complain(p, p->line,
			 "'%.*s' stands before any section, expected [guest NAME] first",
			 quote_len(key), key.s);
		return;
	}
	if (p->guest == NULL)
		return; /* of a section that is skipped; that was reported */
	while (i < ARRAY_SIZE(keys) && !slice_is(key, keys[i].name))
		i++;
	if (i == ARRAY_SIZE(keys)) {
		complain(
			p, p->line,
			"key '%.*s' is not known, expected kernel, initrd, cmdline, memory, vcpus, "
			"autostart, prealloc, cpu, devices or module",
			quote_len(key), key.s);
		return;
	}
	if ((p->seen & 1u << i) != 0 && !keys[i].repeatable) {
		complain(p, p->line, "%s is given twice, expected it once in a section",
			 keys[i].name);
		return;
	}
	p->seen |= 1u << i;
	if (parse_value(p, t, &v))
		keys[i].set(p, v);
}

/* The section has ended: its guest counts when nothing was wrong with it. */
static void finish_section(struct parser *p)
{
	struct guest_conf *g = p->guest;

	if (g == NULL)
		return;
	if (!p->broken && g->kernel[0] == '\0')
		complain(p, g->line, "guest %s has no kernel, expected kernel = PATH", g->name);
	if (!p->broken)
		p->count++;
	p->guest = NULL;
}

static bool name_is_valid(struct slice name)
{
	if (name.len == 0 || name.len >= CONF_GUEST_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if (!is_name_char(name.s[i]))
			return false;
	}
	return name.s[0] != '-' && name.s[0] != '_' && name.s[0] != '.';
}

static const struct guest_conf *find_guest(const struct parser *p, struct slice name)
{
	for (size_t i = 0; i < p->count; i++) {
		if (slice_is(name, p->out[i].name))
			return &p->out[i];
	}
	return NULL;
}

static void begin_guest(struct parser *p, struct slice name)
{
	const struct guest_conf *twin;

	if (!name_is_valid(name)) {
		complain(p, p->line,
			 "'%.*s' cannot be a guest's name, expected 1 to %d letters, digits, '-', "
			 "'_' "
			 "or '.', the first a letter or digit",
			 quote_len(name), name.s, CONF_GUEST_NAME_MAX - 1);
		return;
	}
	twin = find_guest(p, name);
	if (twin != NULL) {
		complain(p, p->line, "guest %s is already in line %u, expected another name",
			 twin->name, twin->line);
		return;
	}
	if (p->count == p->max) {
		complain(p, p->line, "one guest too many, expected at most %zu", p->max);
		return;
	}
	p->guest = &p->out[p->count];
	memset(p->guest, 0, sizeof(*p->guest));
	memcpy(p->guest->name, name.s, name.len);
	p->guest->line = p->line;
	p->guest->memory = CONF_MEMORY_DEFAULT;
	p->guest->vcpus = 1;
}

/* `t` begins with '['. */
static void parse_section(struct parser *p, struct slice t)
{
	struct slice kind, name;

	finish_section(p);
	p->in_section = true;
	p->broken = false;
	p->seen = 0;
	t = slice_uncomment(t);
	if (t.s[t.len - 1] != ']') {
		complain(p, p->line, "'%.*s' is not understood, expected [guest NAME]",
			 quote_len(t), t.s);
		return;
	}
	name = (struct slice){t.s + 1, t.len - 2};
	kind = slice_word(&name);
	if (!slice_is(kind, "guest")) {
		complain(p, p->line, "section '%.*s' is not known, expected [guest NAME]",
			 quote_len(kind), kind.s);
		return;
	}
	begin_guest(p, name);
}

static void parse_line(struct parser *p, struct slice t)
{
	if (t.len != 0 && t.s[t.len - 1] == '\r')
		t.len--;
	if (t.len > CONF_LINE_MAX) {
		complain(p, p->line, "the line has %zu characters, expected at most %d", t.len,
			 CONF_LINE_MAX);
		return;
	}
	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.s[i];

		if ((c < ' ' && c != '\t') || c == 0x7f) {
			complain(p, p->line, "byte 0x%02x at column %zu, expected text", c, i + 1);
			return;
		}
	}
	t = slice_trim(t);
	if (t.len == 0 || t.s[0] == ';' || t.s[0] == '#')
		return;
	if (t.s[0] == '[')
		parse_section(p, t);
	else
		parse_assignment(p, t);
}

int conf_parse(const char *text, size_t size, const char *filename, struct guest_conf *out,
	       size_t max, size_t *count, conf_report_fn *report, void *ctx)
{
	struct parser p = {
		.filename = filename,
		.out = out,
		.max = max,
		.report = report,
		.ctx = ctx,
	};
	struct slice rest = {text, size};

	if (rest.len >= 3 && memcmp(rest.s, "\xef\xbb\xbf", 3) == 0) { /* byte order mark */
		rest.s += 3;
		rest.len -= 3;
	}
	while (rest.len != 0) {
		struct slice line;

		p.line++;
		slice_split(&rest, '\n', &line);
		parse_line(&p, line);
	}
	finish_section(&p);
	*count = p.count;
	return p.reports != 0 ? -EINVAL : 0;
}
