/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor's line editor: a byte goes through the escape sequence parser (ECMA-48), becomes a
 * key and changes the line; what has changed is drawn with CR, backspace and blanks.
 */
#include "vm/lineedit.h"

#include "lib/string.h"
#include "lib/util.h"

#define CTRL(c) ((c)&0x1f)
#define ESC	0x1b
#define DEL	0x7f

enum key {
	KEY_NONE,
	KEY_LEFT,
	KEY_RIGHT,
	KEY_WORD_LEFT,
	KEY_WORD_RIGHT,
	KEY_UP,
	KEY_DOWN,
	KEY_HOME,
	KEY_END,
	KEY_DELETE,
};

/* States of the escape sequence parser. */
enum {
	ESCAPE_NONE,
	ESCAPE_START,	   /* after ESC */
	ESCAPE_INTER,	   /* ESC and intermediate bytes: one final byte follows */
	ESCAPE_CSI,	   /* ESC [ */
	ESCAPE_CSI_LINUX,  /* ESC [ [: the Linux console's function keys, one byte follows */
	ESCAPE_SS3,	   /* ESC O: one byte follows */
	ESCAPE_STRING,	   /* OSC, DCS, SOS, PM, APC: text up to BEL or ESC \ */
	ESCAPE_STRING_END, /* ESC within one */
};

/* --- drawing ---------------------------------------------------------------------------------- */

static void put_repeated(struct lineedit *le, char c, size_t n)
{
	char chunk[32];

	memset(chunk, c, sizeof(chunk));
	while (n > 0) {
		size_t part = n < sizeof(chunk) ? n : sizeof(chunk);

		le->out(chunk, part);
		n -= part;
	}
}

static void put_text(struct lineedit *le, const char *s)
{
	le->out(s, strlen(s));
}

static void bell(struct lineedit *le)
{
	le->out("\a", 1);
}

/* Columns for the line; the screen's last one stays empty, since terminals differ in when they
 * wrap. */
static size_t window(const struct lineedit *le)
{
	return LINE_COLUMNS - 1 - le->prompt_len;
}

/* Scrolls so that the cursor is in the window; by half a window, so as not to redraw for each key.
 */
static bool scroll(struct lineedit *le)
{
	size_t half = window(le) / 2;

	if (le->pos >= le->first && le->pos - le->first <= window(le))
		return false;
	le->first = le->pos > half ? le->pos - half : 0;
	return true;
}

/* Draws from the cursor to the end of the window, wipes what was beyond, and puts the cursor where
 * it belongs, which is in the window. */
static void draw_rest(struct lineedit *le)
{
	size_t visible = le->len - le->first;

	if (visible > window(le))
		visible = window(le);
	le->out(le->buf + le->first + le->cursor, visible - le->cursor);
	le->cursor = visible;
	if (le->drawn > visible) {
		put_repeated(le, ' ', le->drawn - visible);
		le->cursor = le->drawn;
	}
	le->drawn = visible;
	put_repeated(le, '\b', le->cursor - (le->pos - le->first));
	le->cursor = le->pos - le->first;
}

/* Draws everything; where the cursor was does not matter. */
static void draw(struct lineedit *le)
{
	scroll(le);
	put_text(le, "\r");
	put_text(le, le->prompt);
	le->cursor = 0;
	draw_rest(le);
	le->shown = true;
}

/* The line has changed from buf[from] on. */
static void draw_from(struct lineedit *le, size_t from)
{
	if (!le->shown || scroll(le) || from < le->first || from - le->first > le->cursor) {
		draw(le);
		return;
	}
	put_repeated(le, '\b', le->cursor - (from - le->first));
	le->cursor = from - le->first;
	draw_rest(le);
}

/* The cursor has moved and nothing else. */
static void draw_cursor(struct lineedit *le)
{
	size_t column;

	if (!le->shown || scroll(le)) {
		draw(le);
		return;
	}
	column = le->pos - le->first;
	if (column < le->cursor)
		put_repeated(le, '\b', le->cursor - column);
	else
		le->out(le->buf + le->first + le->cursor, column - le->cursor);
	le->cursor = column;
}

void lineedit_hide(struct lineedit *le)
{
	if (!le->shown)
		return;
	le->out("\r", 1);
	put_repeated(le, ' ', le->prompt_len + le->drawn);
	le->out("\r", 1);
	le->shown = false;
	le->drawn = 0;
}

void lineedit_show(struct lineedit *le)
{
	if (!le->shown)
		draw(le);
}

/* --- changing the line ------------------------------------------------------------------------ */

static void insert(struct lineedit *le, char c)
{
	if (le->len == LINE_MAX_LEN) {
		if (le->lost++ == 0)
			bell(le); /* once: a paste would ring for a minute */
		return;
	}
	memmove(le->buf + le->pos + 1, le->buf + le->pos, le->len - le->pos + 1);
	le->buf[le->pos++] = c;
	le->len++;
	draw_from(le, le->pos - 1);
}

/* Removes buf[from..to) and leaves the cursor there. Who deletes has seen what the line lacks. */
static void remove_range(struct lineedit *le, size_t from, size_t to)
{
	if (from == to)
		return;
	le->lost = 0;
	memmove(le->buf + from, le->buf + to, le->len - to + 1);
	le->len -= to - from;
	le->pos = from;
	draw_from(le, from);
}

static void replace_line(struct lineedit *le, const char *text)
{
	str_copy(le->buf, sizeof(le->buf), text);
	le->len = strlen(le->buf);
	le->pos = le->len;
	le->first = 0;
	le->lost = 0;
	draw(le);
}

static bool is_blank_at(const struct lineedit *le, size_t i)
{
	return le->buf[i] == ' ';
}

static size_t word_left(const struct lineedit *le)
{
	size_t i = le->pos;

	while (i > 0 && is_blank_at(le, i - 1))
		i--;
	while (i > 0 && !is_blank_at(le, i - 1))
		i--;
	return i;
}

static size_t word_right(const struct lineedit *le)
{
	size_t i = le->pos;

	while (i < le->len && is_blank_at(le, i))
		i++;
	while (i < le->len && !is_blank_at(le, i))
		i++;
	return i;
}

static void move_to(struct lineedit *le, size_t pos)
{
	le->pos = pos;
	draw_cursor(le);
}

/* --- history ---------------------------------------------------------------------------------- */

/* The line stored `back` lines ago, 1 being the newest. */
static char *history_line(struct lineedit *le, size_t back)
{
	return le->history[(le->hist_count - back) % LINE_HISTORY];
}

static size_t history_length(const struct lineedit *le)
{
	return le->hist_count < LINE_HISTORY ? le->hist_count : LINE_HISTORY;
}

/* Empty lines and repetitions are not worth a place. */
static void history_store(struct lineedit *le)
{
	if (le->len == 0)
		return;
	if (le->hist_count > 0 && strcmp(history_line(le, 1), le->buf) == 0)
		return;
	str_copy(le->history[le->hist_count++ % LINE_HISTORY], LINE_MAX_LEN + 1, le->buf);
}

static void history_show(struct lineedit *le, size_t back)
{
	if (le->hist_at == 0)
		str_copy(le->stash, sizeof(le->stash), le->buf);
	le->hist_at = back;
	replace_line(le, back == 0 ? le->stash : history_line(le, back));
}

/* --- completion ------------------------------------------------------------------------------- */

static void list_offer(struct lineedit *le, const char *word, size_t n)
{
	if (le->column > 0 && le->column + 2 + n >= LINE_COLUMNS) {
		put_text(le, "\r\n");
		le->column = 0;
	}
	if (le->column > 0)
		put_text(le, "  ");
	le->out(word, n);
	le->column += n + (le->column > 0 ? 2 : 0);
}

void lineedit_offer(struct lineedit *le, const char *word)
{
	size_t typed = le->pos - le->word, same = 0;

	if (strncmp(word, le->buf + le->word, typed) != 0)
		return;
	if (le->listing) {
		list_offer(le, word, strlen(word));
		return;
	}
	if (le->offers++ == 0) {
		str_copy(le->common, sizeof(le->common), word);
		return;
	}
	while (le->common[same] && le->common[same] == word[same])
		same++;
	le->common[same] = '\0';
}

static void list_offers(struct lineedit *le)
{
	put_text(le, "\r\n");
	le->shown = false;
	le->drawn = 0;
	le->column = 0;
	le->listing = true;
	le->complete(le, le->buf, le->word);
	le->listing = false;
	put_text(le, "\r\n");
	draw(le);
}

static void complete(struct lineedit *le)
{
	size_t typed;

	le->word = le->pos;
	while (le->word > 0 && !is_blank_at(le, le->word - 1))
		le->word--;
	typed = le->pos - le->word;
	le->offers = 0;
	le->common[0] = '\0';
	if (le->complete)
		le->complete(le, le->buf, le->word);
	if (le->offers > 1 && le->last == '\t' && strlen(le->common) == typed) {
		list_offers(le);
		return;
	}
	if (le->offers != 1 && strlen(le->common) <= typed) {
		bell(le);
		return;
	}
	for (const char *rest = le->common + typed; *rest; rest++)
		insert(le, *rest);
	if (le->offers == 1 && le->pos == le->len)
		insert(le, ' ');
}

/* --- keys ------------------------------------------------------------------------------------- */

static void take_key(struct lineedit *le, enum key key)
{
	switch (key) {
	case KEY_NONE:
		break;
	case KEY_LEFT:
		move_to(le, le->pos > 0 ? le->pos - 1 : 0);
		break;
	case KEY_RIGHT:
		move_to(le, le->pos < le->len ? le->pos + 1 : le->len);
		break;
	case KEY_WORD_LEFT:
		move_to(le, word_left(le));
		break;
	case KEY_WORD_RIGHT:
		move_to(le, word_right(le));
		break;
	case KEY_UP:
		if (le->hist_at < history_length(le))
			history_show(le, le->hist_at + 1);
		break;
	case KEY_DOWN:
		if (le->hist_at > 0)
			history_show(le, le->hist_at - 1);
		break;
	case KEY_HOME:
		move_to(le, 0);
		break;
	case KEY_END:
		move_to(le, le->len);
		break;
	case KEY_DELETE:
		remove_range(le, le->pos, le->pos < le->len ? le->pos + 1 : le->pos);
		break;
	}
}

/* The key that a final byte of CSI or SS3 stands for. */
static enum key final_key(const struct lineedit *le, unsigned char c)
{
	switch (c) {
	case 'A':
		return KEY_UP;
	case 'B':
		return KEY_DOWN;
	case 'C':
		return le->more_params ? KEY_WORD_RIGHT : KEY_RIGHT;
	case 'D':
		return le->more_params ? KEY_WORD_LEFT : KEY_LEFT;
	case 'H':
		return KEY_HOME;
	case 'F':
		return KEY_END;
	case '~':
		if (le->param == 1 || le->param == 7)
			return KEY_HOME;
		if (le->param == 4 || le->param == 8)
			return KEY_END;
		return le->param == 3 ? KEY_DELETE : KEY_NONE;
	default:
		return KEY_NONE;
	}
}

/* The byte after ESC. */
static enum key escape_start(struct lineedit *le, unsigned char c)
{
	le->param = 0;
	le->more_params = false;
	le->escape = ESCAPE_NONE;
	if (c == '[')
		le->escape = ESCAPE_CSI;
	else if (c == 'O')
		le->escape = ESCAPE_SS3;
	else if (c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_')
		le->escape = ESCAPE_STRING;
	else if (c >= 0x20 && c <= 0x2f)
		le->escape = ESCAPE_INTER;
	else if (c == 'b')
		return KEY_WORD_LEFT;
	else if (c == 'f')
		return KEY_WORD_RIGHT;
	return KEY_NONE;
}

/* A byte of a control sequence: parameters 0x30-0x3f, intermediates 0x20-0x2f, one final byte. */
static enum key escape_csi(struct lineedit *le, unsigned char c)
{
	if (c >= '0' && c <= '9') {
		if (!le->more_params && le->param < 1000)
			le->param = le->param * 10 + (unsigned)(c - '0');
		return KEY_NONE;
	}
	if (c == ';')
		le->more_params = true;
	if (c >= 0x20 && c <= 0x3f)
		return KEY_NONE;
	if (c == '[' && le->param == 0 && !le->more_params) {
		le->escape = ESCAPE_CSI_LINUX;
		return KEY_NONE;
	}
	le->escape = ESCAPE_NONE;
	return final_key(le, c);
}

/* A byte within an escape sequence that is not a control character. */
static enum key escape_byte(struct lineedit *le, unsigned char c)
{
	switch (le->escape) {
	case ESCAPE_START:
		return escape_start(le, c);
	case ESCAPE_CSI:
		return escape_csi(le, c);
	case ESCAPE_SS3:
		if (c >= '0' && c <= '9') /* some terminals put a modifier here */
			return KEY_NONE;
		le->escape = ESCAPE_NONE;
		return final_key(le, c);
	case ESCAPE_INTER:
		if (c < 0x20 || c > 0x2f)
			le->escape = ESCAPE_NONE;
		return KEY_NONE;
	case ESCAPE_STRING_END:
		le->escape = c == '\\' ? ESCAPE_NONE : ESCAPE_STRING;
		return KEY_NONE;
	case ESCAPE_CSI_LINUX:
		le->escape = ESCAPE_NONE;
		return KEY_NONE;
	default: /* ESCAPE_STRING: text of no interest */
		return KEY_NONE;
	}
}

/* A control character other than Enter and Ctrl-C. */
static void take_control(struct lineedit *le, unsigned char c)
{
	switch (c) {
	case CTRL('A'):
		take_key(le, KEY_HOME);
		break;
	case CTRL('E'):
		take_key(le, KEY_END);
		break;
	case CTRL('B'):
		take_key(le, KEY_LEFT);
		break;
	case CTRL('F'):
		take_key(le, KEY_RIGHT);
		break;
	case CTRL('P'):
		take_key(le, KEY_UP);
		break;
	case CTRL('N'):
		take_key(le, KEY_DOWN);
		break;
	case CTRL('D'):
		take_key(le, KEY_DELETE);
		break;
	case CTRL('H'):
	case DEL:
		remove_range(le, le->pos > 0 ? le->pos - 1 : 0, le->pos);
		break;
	case CTRL('U'):
		remove_range(le, 0, le->pos);
		break;
	case CTRL('K'):
		remove_range(le, le->pos, le->len);
		break;
	case CTRL('W'):
		remove_range(le, word_left(le), le->pos);
		break;
	case CTRL('L'):
		put_text(le, "\033[H\033[2J"); /* asked for by who has a terminal that can */
		draw(le);
		break;
	case '\t':
		complete(le);
		break;
	default:
		break;
	}
}

static enum line_event finish(struct lineedit *le, enum line_event event)
{
	put_text(le, event == LINE_CANCELLED ? "^C\r\n" : "\r\n");
	le->shown = false;
	le->drawn = 0;
	if (event != LINE_CANCELLED)
		history_store(le);
	return event;
}

/* In a sequence a control character ends it and counts, so that Enter always works; ESC begins
 * anew. BEL ends a string and is no key. */
static enum line_event take_c0(struct lineedit *le, unsigned char c)
{
	bool in_string = le->escape == ESCAPE_STRING;

	le->escape = ESCAPE_NONE;
	if (c == ESC) {
		le->escape = in_string ? ESCAPE_STRING_END : ESCAPE_START;
		return LINE_MORE;
	}
	if (c == '\n' && le->last == '\r')
		return LINE_MORE;
	if (c == '\r' || c == '\n')
		return finish(le, le->lost > 0 ? LINE_TOO_LONG : LINE_DONE);
	if (c == CTRL('C'))
		return finish(le, LINE_CANCELLED);
	take_control(le, c);
	return LINE_MORE;
}

enum line_event lineedit_feed(struct lineedit *le, char c)
{
	unsigned char byte = (unsigned char)c;
	enum line_event event = LINE_MORE;

	if (byte < ' ' || byte == DEL)
		event = take_c0(le, byte);
	else if (le->escape != ESCAPE_NONE)
		take_key(le, escape_byte(le, byte));
	else if (byte < DEL)
		insert(le, c);
	/* else: not ASCII, and no command has such characters */
	le->last = c;
	return event;
}

void lineedit_begin(struct lineedit *le)
{
	le->hist_at = 0;
	le->drawn = 0;
	replace_line(le, "");
}

void lineedit_init(struct lineedit *le, const char *prompt, void (*out)(const char *s, size_t n),
		   line_complete_fn *complete_fn)
{
	memset(le, 0, sizeof(*le));
	le->prompt = prompt;
	le->prompt_len = strlen(prompt);
	le->out = out;
	le->complete = complete_fn;
}
