/* SPDX-License-Identifier: BSD-2-Clause */
/* The guests file: what is understood, and what each mistake is answered with. */
// links: vm/conf.c lib/format.c lib/string.c
#include "vm/conf.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/util.h"
#include "tests/tap.h"

#define MAX_GUESTS 4

static struct guest_conf guests[MAX_GUESTS];
static size_t count;
static int result;
static unsigned reports, last_line;
static char first_msg[300], last_msg[300];

static void on_report(void *ctx, unsigned line, const char *msg)
{
	(void)ctx;
	if (reports++ == 0)
		snprintf(first_msg, sizeof(first_msg), "%s", msg);
	snprintf(last_msg, sizeof(last_msg), "%s", msg);
	last_line = line;
}

/* On a copy of exactly that size: the sanitizer sees a byte read beyond. */
static void parse_bytes(const char *text, size_t size)
{
	char *copy = malloc(size != 0 ? size : 1);

	memcpy(copy, text, size);
	reports = 0;
	last_line = 0;
	first_msg[0] = last_msg[0] = '\0';
	memset(guests, 0xa5, sizeof(guests));
	count = 99;
	result = conf_parse(copy, size, "g.conf", guests, MAX_GUESTS, &count, on_report, NULL);
	free(copy);
}

static void parse(const char *text)
{
	parse_bytes(text, strlen(text));
}

static void test_all_keys(void)
{
	parse("; the guests\n"
	      "[guest debian-12.1_x]  ; with a remark\n"
	      "kernel    = vmlinuz          ; told apart by content\n"
	      "initrd=initrd.img\n"
	      "\tcmdline = console=ttyS0  root=/dev/x;y#z  \t# end\n"
	      "memory = 512M\n"
	      "vcpus = 2\n"
	      "autostart = yes\n"
	      "prealloc = yes\n"
	      "cpu = 0-1, 63-64,255\n"
	      "devices = debug-exit\n"
	      "module = env  NR_CPUS=1 MEMSIZE=128\n"
	      "module = second\n"
	      "\n"
	      "# another\n"
	      "[guest t1]\n"
	      "kernel = t1.elf");
	is_u64(count, 2, "two guests");
	ok(result == 0 && reports == 0, "nothing to complain about (%s)", first_msg);
	is_str(guests[0].name, "debian-12.1_x", "name");
	is_u64(guests[0].line, 2, "line of the section");
	is_str(guests[0].kernel, "vmlinuz", "kernel");
	is_str(guests[0].initrd, "initrd.img", "initrd");
	is_str(guests[0].cmdline, "console=ttyS0  root=/dev/x;y#z", "command line");
	is_u64(guests[0].memory, 512 * MIB, "memory");
	is_u64(guests[0].vcpus, 2, "vcpus");
	ok(guests[0].autostart && guests[0].prealloc, "yes is true");
	ok(guests[0].cpus[0] == (3 | BIT(63)) && guests[0].cpus[1] == 1 && guests[0].cpus[2] == 0 &&
		   guests[0].cpus[3] == BIT(63),
	   "cpu list");
	is_u64(guests[0].devices, CONF_DEVICE_DEBUG_EXIT, "devices");
	is_u64(guests[0].nr_modules, 2, "modules");
	is_str(guests[0].modules[0].name, "env", "module name");
	is_str(guests[0].modules[0].args, "NR_CPUS=1 MEMSIZE=128", "module arguments");
	is_str(guests[0].modules[1].name, "second", "second module");
	is_str(guests[0].modules[1].args, "", "second module has no arguments");

	is_str(guests[1].name, "t1", "last line without a newline");
	is_str(guests[1].kernel, "t1.elf", "its kernel");
	is_u64(guests[1].memory, 256 * MIB, "default memory");
	is_u64(guests[1].vcpus, 1, "default vcpus");
	ok(!guests[1].autostart && !guests[1].prealloc, "default no");
	ok(guests[1].initrd[0] == '\0' && guests[1].cmdline[0] == '\0', "default empty");
	ok(guests[1].nr_modules == 0 && guests[1].devices == 0 && guests[1].cpus[0] == 0,
	   "default none");
}

/* `value` as it stands in the file, and the command line that comes out. */
static void check_cmdline(const char *value, const char *want)
{
	char text[256];

	snprintf(text, sizeof(text), "[guest a]\nkernel = k\ncmdline = %s\n", value);
	parse(text);
	if (ok(count == 1, "accepted: %s (%s)", value, first_msg))
		is_str(guests[0].cmdline, want, value);
}

static void test_quotes(void)
{
	check_cmdline("\"a ; b # c\" ; d", "a ; b # c");
	check_cmdline("\"  keeps blanks  \"", "  keeps blanks  ");
	check_cmdline("\"say \\\"hi\\\" \\\\ \\n\"", "say \"hi\" \\ \\n");
	check_cmdline("\"\"", "");
	check_cmdline("", "");
	check_cmdline("; only a comment", "");
	check_cmdline("root=\"LABEL=x y\" quiet", "root=\"LABEL=x y\" quiet");
	check_cmdline("a;b c#d;", "a;b c#d;");
	check_cmdline("a\t;b", "a");
	check_cmdline("x=\"a ;b\"", "x=\"a");
	check_cmdline("a=b=c", "a=b=c");
	check_cmdline("\xc3\xbc", "\xc3\xbc");
}

static void test_line_ends(void)
{
	parse("\xef\xbb\xbf[guest a]\r\nkernel = k\r\ncmdline = x \r\n");
	ok(count == 1 && result == 0, "BOM and CRLF (%s)", first_msg);
	is_str(guests[0].cmdline, "x", "CR is not part of the value");
	parse("[\tguest\t \ta ]\nkernel\t=\tk\n");
	ok(count == 1 && strcmp(guests[0].name, "a") == 0, "tabs are blanks (%s)", first_msg);
	parse("[guest a]\nkernel = k\r");
	ok(count == 1 && strcmp(guests[0].kernel, "k") == 0, "CR at the very end");
	parse("\xef\xbb");
	ok(count == 0 && result == -EINVAL, "half a BOM is text that is not understood");
	parse("");
	ok(count == 0 && result == 0, "an empty file has no guests");
	parse_bytes("\n\n\n", 3);
	ok(count == 0 && result == 0, "empty lines");
}

/* Every byte as the second of a name. */
static void test_name_characters(void)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "-_. \t";
	char text[] = "[guest a?]\nkernel = k\n";
	unsigned wrong = 0;

	for (int c = 0; c < 256; c++) {
		bool want = c != 0 && strchr(good, c) != NULL;

		text[8] = (char)c;
		parse_bytes(text, strlen("[guest a?]\nkernel = k\n"));
		wrong += (count == 1) != want || (result == 0) != want;
	}
	is_u64(wrong, 0, "exactly letters, digits, '-', '_' and '.' make a name");
}

/* One wrong section between two right ones; the message must be exactly this one. */
static void refused(const char *section, unsigned line, const char *want)
{
	static char text[CONF_LINE_MAX * 2];
	char head[64];

	snprintf(text, sizeof(text), "[guest before]\nkernel = k\n%s\n[guest after]\nkernel = k\n",
		 section);
	parse(text);
	ok(result == -EINVAL && reports == 1, "%s: one report, not %u (%s)", want, reports,
	   last_msg);
	ok(count == 2 && strcmp(guests[0].name, "before") == 0 &&
		   strcmp(guests[1].name, "after") == 0,
	   "%s: the others survive", want);
	snprintf(head, sizeof(head), "g.conf:%u: ", line);
	ok(last_line == line && strncmp(first_msg, head, strlen(head)) == 0 &&
		   strcmp(first_msg + strlen(head), want) == 0,
	   "%s: in line %u", want, line);
	if (strstr(first_msg, want) == NULL || last_line != line)
		printf("#  got line %u \"%s\"\n", last_line, first_msg);
}

static void test_mistakes(void)
{
	static char long_line[CONF_LINE_MAX + 100];

#define BAD "[guest bad]\nkernel = k\n"
	refused("[guest bad]", 3, "guest bad has no kernel, expected kernel = PATH");
	refused(BAD "kernel = l", 5, "kernel is given twice, expected it once in a section");
	refused(BAD "memroy = 1G", 5,
		"key 'memroy' is not known, expected kernel, initrd, cmdline, memory, vcpus, "
		"autostart, prealloc, cpu, devices or module");
	refused(BAD "what", 5, "'what' is not understood, expected KEY = VALUE or [guest NAME]");
	refused(BAD "= x", 5,
		"key '' is not known, expected kernel, initrd, cmdline, memory, vcpus, autostart, "
		"prealloc, cpu, devices or module");
	refused("[guest before]\nkernel = x", 3,
		"guest before is already in line 1, expected another name");
	refused("[guest bad", 3, "'[guest bad' is not understood, expected [guest NAME]");
	refused("[", 3, "'[' is not understood, expected [guest NAME]");
	refused("[]", 3, "section '' is not known, expected [guest NAME]");
	refused("[host bad]\nkernel = k", 3, "section 'host' is not known, expected [guest NAME]");
	refused("[guestbad]", 3, "section 'guestbad' is not known, expected [guest NAME]");
#define NAME_RULE                                                                                  \
	" cannot be a guest's name, expected 1 to 31 letters, digits, '-', '_' or '.', the first " \
	"a letter or digit"
	refused("[guest ]", 3, "''" NAME_RULE);
	refused("[guest a/b]", 3, "'a/b'" NAME_RULE);
	refused("[guest -a]", 3, "'-a'" NAME_RULE);
	refused("[guest a b]", 3, "'a b'" NAME_RULE);
	refused("[guest abcdefghijklmnopqrstuvwxyz012345]", 3,
		"'abcdefghijklmnopqrstuvwxyz012345'" NAME_RULE);
	refused("[guest bad]\nkernel =", 4, "kernel is empty, expected a path");
	refused("[guest bad]\nkernel = a b", 4, "kernel is 'a b', expected a path without blanks");
	refused(BAD "initrd = \"\"", 5, "initrd is empty, expected a path");
	refused(BAD "module = \"\"", 5, "module is empty, expected a path");
	refused(BAD "autostart = true", 5, "autostart is 'true', expected yes or no");
	refused(BAD "prealloc =", 5, "prealloc is '', expected yes or no");
	refused(BAD "cmdline = \"abc", 5, "a quoted value has no end, expected a '\"'");
	refused(BAD "cmdline = \"abc\\\"", 5, "a quoted value has no end, expected a '\"'");
	refused(BAD "cmdline = \"", 5, "a quoted value has no end, expected a '\"'");
	refused(BAD "cmdline = \"abc\" d", 5,
		"text after a quoted value, expected a comment or nothing");
	refused(BAD "cmdline = \"abc\";d", 5,
		"text after a quoted value, expected a comment or nothing");
	refused(BAD "devices = floppy", 5, "device 'floppy' is not known, expected debug-exit");
	refused(BAD "devices = debug-exit,", 5, "device '' is not known, expected debug-exit");
	refused(BAD "devices =", 5, "device '' is not known, expected debug-exit");
	refused(BAD "cmdline = a\x01z", 5, "byte 0x01 at column 12, expected text");
	refused(BAD "cmdline = a\x7f", 5, "byte 0x7f at column 12, expected text");

	memset(long_line, 'x', sizeof(long_line) - 1);
	memcpy(long_line, BAD "cmdline = ", strlen(BAD "cmdline = "));
	refused(long_line, 5, "the line has 4172 characters, expected at most 4096");
	long_line[3000] = '\0';
	refused(long_line, 5, "cmdline is too long, expected at most 2047 characters");
}

static void test_numbers(void)
{
	static const char *const bad_memory[][2] = {
		{"0", "2M to 1024G"},
		{"0G", "2M to 1024G"},
		{"1M", "2M to 1024G"},
		{"2T", "a size such as 512M or 2G"},
		{"1025G", "2M to 1024G"},
		{"99999999999999999999", "a size such as 512M or 2G"},
		{"", "a size such as 512M or 2G"},
		{"M", "a size such as 512M or 2G"},
		{"-1M", "a size such as 512M or 2G"},
		{"512 M", "a size such as 512M or 2G"},
		{"0x1000", "a size such as 512M or 2G"},
		{"18446744073709551615G", "a size such as 512M or 2G"},
		{"4194305", "a multiple of 4K"},
		{"4098K", "a multiple of 4K"},
	};
	static const char *const bad_vcpus[] = {"0", "9", "-1", "x", "", "18446744073709551617"};
	static const char *const bad_cpu[] = {"",    "1,", "x",	   "1-",    "-1",   "2-1",
					      "256", ",",  "1,,2", "0-256", "1-2-3"};
	char text[128], want[128];

	for (size_t i = 0; i < ARRAY_SIZE(bad_memory); i++) {
		snprintf(text, sizeof(text), BAD "memory = %s", bad_memory[i][0]);
		snprintf(want, sizeof(want), "memory is '%s', expected %s", bad_memory[i][0],
			 bad_memory[i][1]);
		refused(text, 5, want);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad_vcpus); i++) {
		snprintf(text, sizeof(text), BAD "vcpus = %s", bad_vcpus[i]);
		snprintf(want, sizeof(want), "vcpus is '%s', expected 1 to 8", bad_vcpus[i]);
		refused(text, 5, want);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad_cpu); i++) {
		snprintf(text, sizeof(text), BAD "cpu = %s", bad_cpu[i]);
		snprintf(want, sizeof(want),
			 "cpu is '%s', expected numbers below 256, such as 0-1,4", bad_cpu[i]);
		refused(text, 5, want);
	}
}

static void test_sizes(void)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},	    {"4096", 4096},
		{"4k", 4096},	    {"3M", 3 * MIB},
		{"2g", 2 * GIB},    {"18446744073709551615", UINT64_MAX},
		{"0000001K", 1024}, {"17179869183G", 17179869183 * GIB},
	};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ok(conf_parse_size(good[i].text, &v) && v == good[i].bytes, "size %s",
		   good[i].text);
	}
	ok(!conf_parse_size("17179869184G", &v), "a product that wraps");
	ok(!conf_parse_size("18446744073709551616", &v), "a number that wraps");
	ok(!conf_parse_size("1 ", &v), "a blank");
	ok(!conf_parse_size("1KM", &v), "two units");
}

static void test_boundaries(void)
{
	static char text[400 * 8];
	size_t n = 0;

	parse("kernel = k\n[guest a]\nkernel = k\n");
	ok(count == 1 && reports == 1 && last_line == 1, "a key before any section");
	is_str(first_msg,
	       "g.conf:1: 'kernel' stands before any section, expected [guest NAME] first",
	       "its message");

	parse_bytes("[guest a]\nkernel = k\0l\n[guest b]\nkernel=k\n", 42);
	ok(count == 1 && strcmp(guests[0].name, "b") == 0, "a NUL costs its guest only");
	is_str(first_msg, "g.conf:2: byte 0x00 at column 11, expected text", "its message");

	for (int i = 0; i < MAX_GUESTS + 2; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "[guest g%d]\nkernel=k\n", i);
	parse(text);
	ok(count == MAX_GUESTS && reports == 2, "as many guests as fit, a report for each other");
	is_str(first_msg, "g.conf:9: one guest too many, expected at most 4", "its message");

	n = (size_t)snprintf(text, sizeof(text), "[guest m]\nkernel=k\n");
	for (int i = 0; i < CONF_MODULES_MAX + 1; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "module = m%d\n", i);
	parse(text);
	ok(count == 0 && reports == 1, "one module too many");
	is_str(first_msg, "g.conf:11: more modules than the 8 that a guest can have",
	       "its message");

	for (n = 0; n < 400; n++)
		memcpy(text + n * 2, "x\n", 2);
	parse_bytes(text, 800);
	is_u64(reports, CONF_REPORTS_MAX + 1, "a flood of mistakes is cut off");
	is_str(last_msg, "g.conf:33: further problems are not listed", "and says so");
	parse_bytes(text, CONF_REPORTS_MAX * 2);
	is_u64(reports, CONF_REPORTS_MAX, "as many as are listed");
	ok(strstr(last_msg, "is not understood") != NULL, "are listed, to the last");
}

/* Any cut of a good file is parsed without a stray read, and never yields a guest without a kernel.
 */
static void test_every_prefix(void)
{
	static const char text[] =
		"\xef\xbb\xbf[guest a] ; x\r\nkernel = k\ncmdline = \"a\\\"b\" # c\n"
		"module = m \"n\\\n[guest b]\nkernel=\"q\"\ncpu=1-2,3\n";
	bool all = true;

	for (size_t n = 0; n < sizeof(text); n++) {
		parse_bytes(text, n);
		for (size_t i = 0; i < count; i++)
			all = all && guests[i].kernel[0] != '\0' && guests[i].name[0] != '\0';
		all = all && count <= 2 && (result == 0) == (reports == 0);
	}
	ok(all, "every prefix of a file");
}

int main(void)
{
	test_all_keys();
	test_quotes();
	test_line_ends();
	test_name_characters();
	test_mistakes();
	test_numbers();
	test_sizes();
	test_boundaries();
	test_every_prefix();
	return tap_done();
}
