/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Line editor for the monitor: characters in, edited lines and terminal output out. Draws with CR,
 * backspace, blank and bell only, so any terminal will do; a line longer than the screen scrolls
 * sideways within it.
 */
#ifndef SLUICE_VM_LINEEDIT_H
#define SLUICE_VM_LINEEDIT_H

#include <stdbool.h>
#include <stddef.h>

#define LINE_MAX_LEN 511u /* characters of a line */
#define LINE_HISTORY 16u
#define LINE_COLUMNS 80u /* width of the screen that is assumed */

struct lineedit;

enum line_event {
	LINE_MORE,	/* the line is not finished */
	LINE_DONE,	/* Enter: the line is in `buf` */
	LINE_TOO_LONG,	/* Enter after more than LINE_MAX_LEN characters: `typed` says how many */
	LINE_CANCELLED, /* Ctrl-C: the line was thrown away */
};

/*
 * The words that could stand where `line[0..at)` ends, for the Tab key: calls lineedit_offer for
 * each whose beginning is the word before `at`, and returns where that word begins (<= at).
 */
typedef size_t line_complete_fn(struct lineedit *le, const char *line, size_t at);

struct lineedit {
	char buf[LINE_MAX_LEN + 1]; /* always terminated */
	size_t len, pos;
	size_t typed; /* characters wanted in this line, those that did not fit included */
	const char *prompt;
	void (*out)(const char *s, size_t n);
	line_complete_fn *complete;

	/* on the screen */
	bool shown;
	size_t first;  /* index of the first character in the window */
	size_t drawn;  /* columns in use after the prompt */
	size_t cursor; /* column after the prompt */

	unsigned escape; /* state of the escape sequence parser */
	unsigned param;	 /* its number so far */
	char last;	 /* the character before, for CR LF */

	char history[LINE_HISTORY][LINE_MAX_LEN + 1];
	size_t hist_count; /* lines ever stored */
	size_t hist_at;	   /* how many lines back the line shown is; 0: the one being typed */
	char stash[LINE_MAX_LEN + 1]; /* the one being typed, while another is shown */

	char offer[LINE_MAX_LEN + 1]; /* completion: longest common beginning of what was offered */
	size_t offers;
	bool listing; /* second round: print them */
};

/* `prompt` is printable ASCII and shorter than LINE_COLUMNS / 2; it and the functions are borrowed.
 */
void lineedit_init(struct lineedit *le, const char *prompt, void (*out)(const char *s, size_t n),
		   line_complete_fn *complete);

/* Begins a new, empty line: prints the prompt. */
void lineedit_begin(struct lineedit *le);

/* Takes the line off the screen, so that something else can be printed, and puts it back. */
void lineedit_hide(struct lineedit *le);
void lineedit_show(struct lineedit *le);

/* One byte of input. After an event other than LINE_MORE the cursor is on a fresh line and the
 * caller calls lineedit_begin when it wants the next one. */
enum line_event lineedit_feed(struct lineedit *le, char c);

/* For line_complete_fn. */
void lineedit_offer(struct lineedit *le, const char *word);

#endif
