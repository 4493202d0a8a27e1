/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vm/lineedit.c on a simulated dumb terminal of 80 columns: after every key the screen must show
 * exactly the prompt, the visible part of the line and the cursor in its place.
 */
// links: vm/lineedit.c lib/string.c
#include <stdlib.h>

#include "tests/tap.h"
#include "vm/lineedit.h"

#define COLUMNS 80

/* The terminal knows CR, LF, BS and BEL, and no escape sequence. */
static char row[COLUMNS + 1], rows[64][COLUMNS + 1];
static unsigned column, nr_rows, bells;
static bool overflow; /* wrote beyond the last column, backspaced beyond the first, or a control */

static void terminal_clear(void)
{
	memset(row, ' ', COLUMNS);
	row[COLUMNS] = '\0';
	column = nr_rows = bells = 0;
	overflow = false;
}

static void terminal(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '\r') {
			column = 0;
		} else if (s[i] == '\n') {
			memcpy(rows[nr_rows++ % 64], row, sizeof(row));
			memset(row, ' ', COLUMNS);
		} else if (s[i] == '\b') {
			overflow |= column == 0;
			column -= column > 0;
		} else if (s[i] == '\a') {
			bells++;
		} else {
			overflow |= column >= COLUMNS || s[i] < ' ' || s[i] > '~';
			if (column < COLUMNS)
				row[column++] = s[i];
		}
	}
}

static const char *words[] = {"list", "log", "loglevel", "debian", "debug-guest", NULL};

static void complete(struct lineedit *le, const char *line, size_t start)
{
	(void)line;
	for (unsigned i = start == 0 ? 0 : 3; words[i] && (start > 0 || i < 3); i++)
		lineedit_offer(le, words[i]);
}

static struct lineedit le;

static void start(void)
{
	terminal_clear();
	lineedit_init(&le, "sluice> ", terminal, complete);
	lineedit_begin(&le);
}

static enum line_event type(const char *s)
{
	enum line_event event = LINE_MORE;

	for (; *s; s++) {
		event = lineedit_feed(&le, *s);
		if (event != LINE_MORE && s[1])
			lineedit_begin(&le);
	}
	return event;
}

/* The screen is what it must be for le.buf and le.pos. */
static bool screen_right(void)
{
	size_t prompt = strlen(le.prompt), width = COLUMNS - 1 - prompt, visible;
	char want[COLUMNS + 1];

	if (le.pos < le.first || le.pos - le.first > width || overflow)
		return false;
	memset(want, ' ', COLUMNS);
	want[COLUMNS] = '\0';
	memcpy(want, le.prompt, prompt);
	visible = le.len - le.first < width ? le.len - le.first : width;
	memcpy(want + prompt, le.buf + le.first, visible);
	return strcmp(row, want) == 0 && column == prompt + le.pos - le.first;
}

/* Types `keys`, and the line must be `want` with '|' where the cursor is. */
static void edits(const char *keys, const char *want, const char *name)
{
	char got[LINE_MAX_LEN + 2];

	start();
	type(keys);
	snprintf(got, sizeof(got), "%.*s|%s", (int)le.pos, le.buf, le.buf + le.pos);
	is_str(got, want, name);
	ok(screen_right(), "  and so does the screen: [%s] %u", row, column);
}

static void test_keys(void)
{
	edits("list", "list|", "characters");
	edits("abc\033[D\033[DX", "aX|bc", "left arrow");
	edits("abc\033OD\033OC.", "abc.|", "arrows in application mode");
	edits("abc\001X\005Y", "XabcY|", "Ctrl-A and Ctrl-E");
	edits("abc\033[HX\033[FY", "XabcY|", "Home and End");
	edits("abc\033[1~X\033[4~Y\033[7~1\033[8~2", "1XabcY2|", "Home and End of other terminals");
	edits("abc\177\bX", "aX|", "Backspace, both kinds");
	edits("abc\001\033[3~\004", "|c", "Delete and Ctrl-D");
	edits("abc def\002\002\025", "|ef", "Ctrl-U");
	edits("abc def\002\002\013", "abc d|", "Ctrl-K");
	edits("one two  \027", "one |", "Ctrl-W");
	edits("one two\033[1;5D\033[1;5DX", "X|one two", "word left");
	edits("one two\001\033fX", "oneX| two", "word right by Alt-f");
	edits("\033[D\177\033[3~\033[C\004", "|", "nothing to do on an empty line");
	edits("a\033[A\033[Bb", "ab|", "history keys without history");
}

static void test_ignored(void)
{
	edits("a\033[15~b\033[24~c", "abc|", "function keys");
	edits("a\033[[Ab", "ab|", "function keys of the Linux console");
	edits("a\033[200~b\033[201~c", "abc|", "bracketed paste marks");
	edits("a\033]0;title\007b", "ab|", "a string ended by BEL");
	edits("a\033]0;title\033\\b", "ab|", "a string ended by ST");
	edits("a\033Pq#1;2\033x\033\\b", "ab|", "a device control string with an ESC in it");
	edits("a\033(Bb\033#8c", "abc|", "sequences with intermediate bytes");
	edits("a\033[?1;2cb", "ab|", "a terminal's report of itself");
	edits("a\033[12;40Rb", "ab|", "a cursor position report");
	edits("a\033[99999999999999999999~b", "ab|", "a parameter beyond all bounds");
	edits("a\033\033[Db", "b|a", "ESC begins a sequence anew");
	edits("a\033[1\030b", "ab|", "CAN ends a sequence");
	edits("a\xc3\xa4"
	      "b\x9b"
	      "c",
	      "abc|", "bytes that are not ASCII");
	edits("a\001\007\013", "|", "other control characters");
	start();
	ok(type("ab\033[\r") == LINE_DONE && strcmp(le.buf, "ab") == 0, "Enter within a sequence");
	start();
	ok(type("ab\033]x\n") == LINE_DONE && strcmp(le.buf, "ab") == 0, "Enter within a string");
}

static void test_enter(void)
{
	start();
	ok(type("list\r") == LINE_DONE, "CR ends the line");
	is_str(le.buf, "list", "and the line is there");
	ok(strncmp(rows[0], "sluice> list ", 13) == 0 && column == 0, "the cursor is below it");
	lineedit_begin(&le);
	ok(type("\n") == LINE_MORE && le.len == 0, "the LF of a CR LF is not another");
	ok(type("\n") == LINE_DONE, "a LF of its own is");
	start();
	ok(type("abc\003") == LINE_CANCELLED, "Ctrl-C throws the line away");
	ok(strncmp(rows[0], "sluice> abc^C", 13) == 0, "and shows it");
}

static void test_history(void)
{
	char line[16];

	start();
	type("one\rtwo\rtwo\r\rthree\r");
	lineedit_begin(&le);
	type("new\033[A");
	is_str(le.buf, "three", "up: the newest");
	type("\033[A");
	is_str(le.buf, "two", "the one before");
	type("\020");
	is_str(le.buf, "one", "repetitions and empty lines are not kept");
	type("\033[A\033[A");
	is_str(le.buf, "one", "the oldest is the end");
	type("\016\033[B\033[B");
	is_str(le.buf, "new", "down to the line that was being typed");
	type("\033[B");
	is_str(le.buf, "new", "and no further");
	ok(screen_right(), "on the screen too");
	type("\033[A!\r");
	is_str(le.buf, "three!", "a recalled line can be changed");
	for (int i = 0; i < 40; i++) {
		snprintf(line, sizeof(line), "l%d\r", i);
		lineedit_begin(&le);
		type(line);
	}
	lineedit_begin(&le);
	for (int i = 0; i < 40; i++)
		type("\033[A");
	is_str(le.buf, "l24", "the last 16 are kept");
}

static void test_long(void)
{
	static char line[10001];

	start();
	for (int i = 0; i < 10000; i++)
		line[i] = (char)('a' + i % 26);
	ok(type(line) == LINE_MORE && bells == 1, "10,000 characters ring once");
	is_u64(le.len, LINE_MAX_LEN, "what fits is kept");
	ok(memcmp(le.buf, line, LINE_MAX_LEN) == 0, "and right");
	ok(screen_right(), "the screen shows its end");
	ok(type("\r") == LINE_TOO_LONG, "Enter says so");
	is_u64(le.len + le.lost, 10000, "and how many they were");
	lineedit_begin(&le);
	type("\033[A");
	is_u64(le.len, LINE_MAX_LEN, "arrow up recalls what fitted");
	type("\177");
	ok(type("\r") == LINE_DONE, "which can be shortened and entered");
	lineedit_begin(&le);
	type(line);
	ok(type("\177\r") == LINE_DONE, "as can the line itself, once somebody has seen its end");
	lineedit_begin(&le);
	ok(type("list\r") == LINE_DONE && strcmp(le.buf, "list") == 0, "the next line is well");
}

static void test_hide(void)
{
	char blank[COLUMNS + 1];

	memset(blank, ' ', COLUMNS);
	blank[COLUMNS] = '\0';
	start();
	type("some line\033[D\033[D");
	lineedit_hide(&le);
	ok(strcmp(row, blank) == 0 && column == 0, "hidden: the row is empty");
	terminal("a message\r\n", 11);
	lineedit_show(&le);
	ok(screen_right() && le.pos == 7, "shown again below, cursor where it was");
	type("X");
	is_str(le.buf, "some liXne", "and editing goes on");
	ok(screen_right(), "on the screen");
	lineedit_hide(&le);
	lineedit_hide(&le);
	type("Y");
	ok(screen_right(), "a key while hidden draws everything");
}

static void test_complete(void)
{
	edits("li\t", "list |", "Tab: the only word, and a blank");
	edits("l\t", "l|", "several: nothing but a bell");
	is_u64(bells, 1, "  one bell");
	edits("lo\t", "log|", "as far as they agree");
	edits("list de\t", "list deb|", "second word");
	edits("list debi\t", "list debian |", "to its end");
	edits("zz\t", "zz|", "no such word");
	edits("  x\001li\t", "list|  x", "within a line, no second blank");
	start();
	type("lo\t\t");
	ok(nr_rows == 2 && strncmp(rows[1], "log  loglevel ", 14) == 0, "twice: they are listed");
	ok(screen_right() && strcmp(le.buf, "log") == 0, "and the line is there again");
}

/* Random keys; an independent model of the text, and the screen after each. */
static void test_random(void)
{
	static const char *const keys[] = {"\033[D", "\033[C", "\001", "\005",	  "\177",
					   "\004",   "\025",   "\013", "\033[3~", "\033[5~"};
	static char model[LINE_MAX_LEN + 2];
	size_t len = 0, pos = 0, scrolled = 0;
	bool good = true;

	start();
	srand(7);
	for (unsigned step = 0; step < 40000 && good; step++) {
		unsigned k = (unsigned)rand() % 40;

		/* clearing is rare, so that lines grow beyond the window */
		if ((k == 6 || k == 7) && rand() % 40 != 0)
			k = 20;
		if (k >= 10) {
			char c = (char)('!' + rand() % 94);

			type((char[]){c, '\0'});
			if (len == LINE_MAX_LEN)
				continue;
			memmove(model + pos + 1, model + pos, len - pos);
			model[pos++] = c;
			len++;
		} else {
			type(keys[k]);
		}
		if (k == 0)
			pos -= pos > 0;
		if (k == 1)
			pos += pos < len;
		if (k == 2)
			pos = 0;
		if (k == 3)
			pos = len;
		if (k == 4 && pos > 0) {
			memmove(model + pos - 1, model + pos, len - pos);
			pos--;
			len--;
		}
		if ((k == 5 || k == 8) && pos < len) {
			memmove(model + pos, model + pos + 1, len - pos - 1);
			len--;
		}
		if (k == 6) {
			memmove(model, model + pos, len - pos);
			len -= pos;
			pos = 0;
		}
		if (k == 7)
			len = pos;
		good = le.len == len && le.pos == pos && memcmp(le.buf, model, len) == 0 &&
		       le.buf[len] == '\0' && screen_right();
		scrolled += le.first > 0;
	}
	ok(good, "40,000 random keys: line and screen as the model says");
	ok(scrolled > 1000, "beyond the window as well (%zu)", scrolled);
}

/* Any bytes: no state from which Enter does not lead back. */
static void test_noise(void)
{
	bool good = true;

	srand(3);
	for (unsigned round = 0; round < 300 && good; round++) {
		lineedit_init(&le, "sluice> ", terminal, complete);
		lineedit_begin(&le);
		for (unsigned i = 0; i < 2000; i++)
			if (lineedit_feed(&le, (char)rand()) != LINE_MORE)
				lineedit_begin(&le);
		lineedit_feed(&le, '\003');
		lineedit_begin(&le);
		good = type("list\r") == LINE_DONE && strcmp(le.buf, "list") == 0;
	}
	ok(good, "after any noise Ctrl-C and a line work");
}

int main(void)
{
	test_keys();
	test_ignored();
	test_enter();
	test_history();
	test_long();
	test_hide();
	test_complete();
	test_random();
	test_noise();
	return tap_done();
}
