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
	LINE_TOO_LONG,	/* Enter, but `lost` characters did not fit; `buf` has the others */
	LINE_CANCELLED, /* Ctrl-C: the line was thrown away */
};

/*
 * For the Tab key: offers (lineedit_offer) every word that could stand at line[start..), where the
 * word under the cursor begins; the editor itself drops those that do not fit what was typed.
 */
typedef void line_complete_fn(struct lineedit *le, const char *line, size_t start);

struct lineedit {
	char buf[LINE_MAX_LEN + 1]; /* always terminated */
	size_t len, pos;	    /* characters in it; where the cursor is, 0..len */
	size_t lost;		    /* characters of this line that did not fit */
	const char *prompt;
	size_t prompt_len;
	void (*out)(const char *s, size_t n);
	line_complete_fn *complete;

	/* What is on the screen. */
	bool shown;
	size_t first;  /* index in buf of the first character after the prompt */
	size_t drawn;  /* columns in use after the prompt */
	size_t cursor; /* column after the prompt */

	/* What came before in the input. */
	char last;	  /* the byte before: for CR LF and a second Tab */
	int escape;	  /* state of the escape sequence parser */
	unsigned param;	  /* the sequence's first number */
	bool more_params; /* it has a second one: a modifier key */

	char history[LINE_HISTORY][LINE_MAX_LEN + 1];
	size_t hist_count;	      /* lines ever stored */
	size_t hist_at;		      /* how many back the line shown is; 0: the new one */
	char stash[LINE_MAX_LEN + 1]; /* the new one, while another is shown */

	/* Completion under way. */
	size_t word;		       /* where the word begins */
	size_t offers;		       /* words that fit */
	char common[LINE_MAX_LEN + 1]; /* what all of them begin with */
	bool listing;		       /* second round: print them */
	size_t column;
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

/* For line_complete_fn only. */
void lineedit_offer(struct lineedit *le, const char *word);

#endif
