/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The explorer. An execution is a sequence of steps; at each point where more than one is possible
 * a choice is made, and the list of choices (the schedule) determines the execution entirely. All
 * schedules are tried depth first, by executing again from the start; a state that was seen before
 * is not continued. Reduction: a pCPU is interrupted only before accesses that conflict with
 * another pCPU's. Which ones do is learned, until no execution shows a new one.
 */
#include "tests/model/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "lib/check.h"

#define STACK_SIZE   (256 * 1024)
#define HASHED_STACK (16 * 1024) /* more than the production code ever uses */
#define MAX_DEPTH    20000
#define MAX_STEPS    20000
#define MAX_OPTIONS  16
#define SEEN_SLOTS   (1u << 22)
#define ACCESS_SLOTS (1u << 14)
#define LEARN_RUNS   40
#define MAX_EXTRA    64

const char *const invariant_name[NR_I] = {"-",	"I1", "I2",  "I3",  "I4",  "I5",   "I6",   "I7",
					  "I8", "I9", "I10", "I11", "I12", "LIVE", "CHECK"};

struct choice {
	uint8_t n, taken;
	uint8_t cost[MAX_OPTIONS];
	uint16_t spent; /* of the bound, before this choice */
};

struct access {
	uintptr_t at;		  /* 8-byte granule; 0: free */
	uint8_t readers, writers; /* pCPUs */
	bool shared;		  /* what this round of the exploration goes by */
};

struct option {
	bool drain;
	uint8_t cpu, index, cost;
};

/* What the search itself keeps. */
struct search {
	struct explorer x; /* first: X points to it */
	struct choice path[MAX_DEPTH];
	unsigned depth, length; /* next choice; choices that are given */
	unsigned spent, bound, last, steps;
	enum mode mode;
	bool learning, learned_more;
	uint64_t random;
	uint64_t *seen;
	uint8_t *seen_spent;
	uint64_t nr_seen;
	struct access access[ACCESS_SLOTS];
	uintptr_t extra[MAX_EXTRA]; /* conflicts found after the first learning */
	unsigned nr_extra;
	jmp_buf stop;
	bool setup; /* there is nothing to go back to */
	ucontext_t context[PCPUS];
	ucontext_t blank; /* so that each execution's fibers start with the same registers */
	char *stack[PCPUS];
	char *fresh; /* the static data before any scenario */
	char *image; /* of the static data and of memory, after setup */
	size_t image_frames;
	bool pruned;
};

struct explorer *X;
struct machine M;

#define S ((struct search *)(void *)X)

extern char __data_start[], _end[];

/* ---- state ---- */

static size_t used_frames(void)
{
	return X->s->frames ? X->s->frames : 48;
}

/* Frames whose bytes are kept: beyond these scenarios only translate, they do not store. */
static size_t kept_frames(void)
{
	return used_frames() < 96 ? used_frames() : 96;
}

/* Called through a pointer the compiler cannot follow: every static object changes here. */
static void image_copy(char *data, bool save)
{
	size_t size = (size_t)(_end - __data_start), frames = S->image_frames * PAGE_SIZE;
	char *image = S->image, *a = arena;

	if (save) {
		memcpy(image, data, size);
		memcpy(image + size, a, frames);
	} else {
		memcpy(a, image + size, frames);
		memcpy(data, image, size);
	}
}

static char *volatile data_start = __data_start;

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 29;
}

static uint64_t hash_words(uint64_t h, const void *p, size_t n)
{
	const uint64_t *w = p;
	uint64_t a = h, b = ~h;

	for (size_t i = 0; i + 1 < n / 8; i += 2) {
		a = (a ^ w[i]) * 0x9e3779b97f4a7c15ULL;
		b = (b ^ w[i + 1]) * 0xc2b2ae3d27d4eb4fULL;
		a ^= a >> 32;
		b ^= b >> 29;
	}
	return mix(a, b);
}

static uint64_t state_hash(void)
{
	uint64_t h = hash_words(1, data_start, (size_t)(_end - __data_start) & ~15UL);

	for (unsigned f = 0; f < S->image_frames; f++)
		if (M.frame_used[f])
			h = hash_words(h, arena + f * PAGE_SIZE, PAGE_SIZE);
	for (unsigned c = 0; c < PCPUS; c++) {
		const struct fiber *f = &M.f[c];
		char *top = S->stack[c] + STACK_SIZE;

		if (f->started && f->state != F_DONE)
			h = hash_words(h, (void *)f->sp, (size_t)(top - (char *)f->sp));
	}
	if (S->mode == MODE_BOUNDED)
		h = mix(h, S->last);
	return h ? h : 1;
}

/* True when the state was continued before with at least as much of the bound left. */
static bool state_known(void)
{
	uint64_t h = state_hash();
	uint64_t i = h & (SEEN_SLOTS - 1);

	while (S->seen[i] && S->seen[i] != h)
		i = (i + 1) & (SEEN_SLOTS - 1);
	if (S->seen[i] && S->seen_spent[i] <= S->spent)
		return true;
	if (!S->seen[i]) {
		X->stat.states++;
		S->nr_seen++;
	}
	/* A full table only forgets to recognise. */
	if (S->nr_seen < SEEN_SLOTS / 2) {
		S->seen[i] = h;
		S->seen_spent[i] = (uint8_t)S->spent;
	}
	return false;
}

/* ---- conflicts ---- */

static struct access *access_of(uintptr_t at)
{
	uint64_t i = mix(7, at) & (ACCESS_SLOTS - 1);

	while (S->access[i].at && S->access[i].at != at)
		i = (i + 1) & (ACCESS_SLOTS - 1);
	S->access[i].at = at;
	return &S->access[i];
}

static bool conflicts(const struct access *a)
{
	uint8_t all = a->readers | a->writers;

	return a->writers && (all & (all - 1));
}

bool address_shared(const void *p, bool write)
{
	struct access *a;

	if (!M.running)
		return false;
	a = access_of((uintptr_t)p >> 3);
	if (write)
		a->writers |= (uint8_t)BIT(M.cur);
	else
		a->readers |= (uint8_t)BIT(M.cur);
	if (S->learning)
		return true;
	if (!a->shared && conflicts(a))
		S->learned_more = true;
	return a->shared;
}

/* From now on conflicts are scheduling points. */
static void adopt_conflicts(bool extra)
{
	for (unsigned i = 0; i < ACCESS_SLOTS; i++) {
		struct access *a = &S->access[i];

		if (a->shared || !conflicts(a))
			continue;
		a->shared = true;
		if (extra && S->nr_extra < MAX_EXTRA)
			S->extra[S->nr_extra++] = a->at;
	}
	S->learned_more = false;
}

/* ---- fibers ---- */

static void fiber_main(void)
{
	struct fiber *f = &M.f[M.cur];

	X->s->cpu[M.cur]();
	f->state = F_DONE;
	f->what = "done";
	_longjmp(M.scheduler, 1);
}

static void to_scheduler(struct fiber *f)
{
	f->sp = (uintptr_t)__builtin_frame_address(0);
	if (!_setjmp(f->at))
		_longjmp(M.scheduler, 1);
}

void yield(const char *what, const void *where, bool barrier)
{
	struct fiber *f = &M.f[M.cur];

	if (!M.running)
		return;
	f->what = what;
	f->where = where;
	f->barrier = barrier;
	to_scheduler(f);
	if (barrier)
		store_drain_all(M.cur);
}

void wait_until(bool (*ready)(void), const char *what)
{
	struct fiber *f = &M.f[M.cur];

	if (!M.running)
		return;
	f->state = F_WAIT;
	f->ready = ready;
	yield(what, NULL, true);
}

void hw_relax(void)
{
	struct fiber *f = &M.f[M.cur];

	if (!M.running) {
		violate(I_LIVE, "a wait that nobody ends");
		return;
	}
	f->state = F_SPIN;
	/* Changed already, after it was read: do not wait for the next one. */
	f->changed |= f->nr_read > MAX_READ && f->written;
	/* Loops nest, and a loop may wait for its own doing: one turn in any case. */
	if (!f->changed && f->grace < 1) {
		f->grace++;
		f->changed = true;
	}
	yield("spin", NULL, false);
	f->changed = f->written = false;
	f->nr_read = 0;
	memset(f->read, 0, sizeof(f->read));
}

void doing(const char *fmt, ...)
{
	va_list ap;
	char text[100];

	if (!X->tracing)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	trace_row((int)M.cur, "%s", text);
}

static bool others_stuck(unsigned cpu)
{
	for (unsigned c = 0; c < PCPUS; c++) {
		const struct fiber *f = &M.f[c];

		if (c != cpu && f->state != F_DONE && !(f->state == F_WAIT && !f->ready()))
			return false;
	}
	return true;
}

static bool can_step(unsigned cpu)
{
	struct fiber *f = &M.f[cpu];

	switch (f->state) {
	case F_READY:
		return !f->lingering || f->kicked || others_stuck(cpu);
	case F_SPIN:
		return f->changed;
	case F_WAIT:
		return f->ready();
	default:
		return false;
	}
}

static void fiber_step(unsigned cpu)
{
	struct fiber *f = &M.f[cpu];

	M.cur = cpu;
	f->state = F_READY;
	S->last = cpu;
	if (_setjmp(M.scheduler))
		return;
	if (f->started)
		_longjmp(f->at, 1);
	f->started = true;
	setcontext(&S->context[cpu]);
}

static void fiber_prepare(unsigned cpu)
{
	ucontext_t *u = &S->context[cpu];

	/* What earlier calls left behind must not tell states apart. */
	memset(S->stack[cpu] + STACK_SIZE - HASHED_STACK, 0, HASHED_STACK);
	*u = S->blank;
	u->uc_stack.ss_sp = S->stack[cpu];
	u->uc_stack.ss_size = STACK_SIZE;
	u->uc_link = NULL;
	makecontext(u, fiber_main, 0);
}

/* ---- choices ---- */

static uint64_t random_next(void)
{
	S->random ^= S->random << 13;
	S->random ^= S->random >> 7;
	S->random ^= S->random << 17;
	return S->random;
}

static bool affordable(const struct choice *c, unsigned i)
{
	return S->mode != MODE_BOUNDED || c->spent + c->cost[i] <= S->bound;
}

static unsigned take(unsigned n, const uint8_t *cost)
{
	struct choice *c = &S->path[S->depth];

	if (S->depth == MAX_DEPTH) {
		violate(I_LIVE, "too many choices: does it end?");
		return 0;
	}
	if (S->depth >= S->length) {
		c->taken = 0;
		if (S->mode == MODE_RANDOM) {
			/* Mostly go on: long undisturbed stretches find more than a coin at each
			 * step. */
			if (random_next() % 4 == 0)
				c->taken = (uint8_t)(random_next() >> 8) % (uint8_t)n;
		}
		S->length = S->depth + 1;
	} else if (c->taken >= n) {
		c->taken = 0; /* a schedule that was cut while minimising */
	}
	c->n = (uint8_t)n;
	memset(c->cost, 0, sizeof(c->cost));
	if (cost)
		memcpy(c->cost, cost, n);
	c->spent = (uint16_t)S->spent;
	S->spent += c->cost[c->taken];
	S->depth++;
	return c->taken;
}

/*
 * Counters of the search must not get into the state: not even into slots of a fiber's stack that
 * a later call leaves as they are. Hence functions of their own, and a broom.
 */
static __attribute__((noinline)) void count(uint64_t *n)
{
	++*n;
}

void checked(enum invariant i)
{
	count(&X->stat.checks[i]);
}

void rule_used(enum rule r)
{
	count(&X->stat.rules[r]);
}

static __attribute__((noinline)) void sweep_stack(void)
{
	char below[1024];

	memset(below, 0, sizeof(below));
	__asm__ volatile("" : : "r"(below) : "memory");
}

unsigned choose(unsigned n)
{
	unsigned taken = n > 1 && M.running ? take(n, NULL) : 0;

	sweep_stack();
	return taken;
}

static void option_add(struct option *o, unsigned *n, struct option new)
{
	if (*n < MAX_OPTIONS)
		o[(*n)++] = new;
}

static unsigned drain_options(struct option *o, unsigned n, unsigned cpu, bool preempts)
{
	for (unsigned i = 0; i < M.f[cpu].nr_stores; i++)
		if (store_may_drain(cpu, i))
			option_add(o, &n,
				   (struct option){.drain = true,
						   .cpu = (uint8_t)cpu,
						   .index = (uint8_t)i,
						   .cost = preempts || i > 0});
	return n;
}

/* The cheapest first: store, go on, and only then another pCPU. */
static unsigned options(struct option *o)
{
	unsigned n = 0, last = S->last;
	bool busy = can_step(last);

	n = drain_options(o, n, last, false);
	if (busy)
		option_add(o, &n, (struct option){.cpu = (uint8_t)last, .cost = n > 0});
	for (unsigned c = 0; c < PCPUS; c++) {
		if (c == last)
			continue;
		if (can_step(c))
			option_add(o, &n, (struct option){.cpu = (uint8_t)c, .cost = n > 0});
		n = drain_options(o, n, c, false);
	}
	return n;
}

static bool all_done(void)
{
	for (unsigned c = 0; c < PCPUS; c++)
		if (M.f[c].state != F_DONE)
			return false;
	return true;
}

static void apply(const struct option *o)
{
	struct fiber *f = &M.f[o->cpu];
	char name[80];

	if (o->drain) {
		if (X->tracing)
			trace_row(o->cpu, "  its store to %s becomes visible",
				  address_name(f->stores[o->index].p, name, sizeof(name)));
		store_drain(o->cpu, o->index);
		return;
	}
	X->stat.steps++;
	fiber_step(o->cpu);
}

static void run_fibers(void)
{
	struct option o[MAX_OPTIONS];
	uint8_t cost[MAX_OPTIONS];
	unsigned n, pick;

	while ((n = options(o)) > 0) {
		pick = 0;
		if (++S->steps > MAX_STEPS)
			violate(I_LIVE, "%u steps and no end", MAX_STEPS);
		if (n > 1) {
			if (S->mode != MODE_RANDOM && S->depth >= S->length && state_known()) {
				S->pruned = true;
				return;
			}
			for (unsigned i = 0; i < n; i++)
				cost[i] = o[i].cost;
			pick = take(n, cost);
		}
		apply(&o[pick]);
	}
	if (!all_done())
		violate(I_LIVE, "nobody can go on: pCPU0 %s, pCPU1 %s", M.f[0].what, M.f[1].what);
}

/* One execution by the schedule S->path[0..length), continued with defaults. */
static void execute(void)
{
	image_copy(data_start, false);
	S->depth = S->spent = S->steps = S->last = 0;
	S->pruned = false;
	X->violated = I_NONE;
	X->stat.executions++;
	for (unsigned c = 0; c < PCPUS; c++)
		fiber_prepare(c);
	if (_setjmp(S->stop))
		return;
	M.running = true;
	run_fibers();
	M.running = false;
	if (!S->pruned)
		X->s->finish();
}

void violate(enum invariant i, const char *fmt, ...)
{
	va_list ap;

	X->stat.violations[i]++;
	if (X->tracing || X->violated == I_NONE) {
		va_start(ap, fmt);
		vsnprintf(X->message, sizeof(X->message), fmt, ap);
		va_end(ap);
	}
	if (S->setup) {
		fprintf(stderr, "while %s was set up: %s\n", X->s->name, X->message);
		abort();
	}
	if (X->violated == I_NONE)
		X->violated = i;
	if (X->tracing)
		trace_row((int)M.cur, "** %s violated: %s", invariant_name[i], X->message);
	if (!(X->knobs & KNOB_COLLECT) || i == I_LIVE || i == I_CHECK)
		_longjmp(S->stop, 1);
}

/* Stops the execution even where violations are collected. */
void panic(const char *fmt, ...)
{
	va_list ap;
	char text[300];
	enum invariant i = I_CHECK;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!X || !X->s) {
		fprintf(stderr, "%s\n", text);
		abort();
	}
	if (strstr(text, "GATHER_COMPLETE") || strstr(text, "dead.first"))
		i = I10;
	violate(i, "%s", text);
	_longjmp(S->stop, 1);
}

/* ---- searches ---- */

void explorer_init(enum arch arch)
{
	struct search *s = calloc(1, sizeof(*s));

	s->seen = calloc(SEEN_SLOTS, sizeof(*s->seen));
	s->seen_spent = calloc(SEEN_SLOTS, 1);
	s->image = malloc((size_t)(_end - __data_start) + MAX_FRAMES * PAGE_SIZE);
	for (unsigned c = 0; c < PCPUS; c++)
		s->stack[c] = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	getcontext(&s->blank);
	X = &s->x;
	X->arch = arch;
	machine_init();
	s->fresh = malloc((size_t)(_end - __data_start));
	memcpy(s->fresh, data_start, (size_t)(_end - __data_start));
}

static void learn(void)
{
	S->mode = MODE_RANDOM;
	S->learning = true;
	for (unsigned i = 0; i < LEARN_RUNS; i++) {
		S->length = 0;
		S->random = 88172645463325252ULL + i * 0x9e3779b97f4a7c15ULL;
		execute();
	}
	S->learning = false;
	adopt_conflicts(false);
}

void explorer_scenario(const struct scenario *s, unsigned knobs)
{
	memcpy(data_start, S->fresh, (size_t)(_end - __data_start));
	memset(S->access, 0, sizeof(S->access));
	S->nr_extra = 0;
	memset(&X->stat, 0, sizeof(X->stat));
	X->s = s;
	X->knobs = knobs;
	machine_boot(s, X->arch);
	M.running = false;
	S->setup = true;
	s->setup();
	S->setup = false;
	S->image_frames = kept_frames();
	image_copy(data_start, true);
	learn();
	memset(&X->stat, 0, sizeof(X->stat));
}

/* The next schedule in depth-first order; false when all have been tried. */
static bool next_schedule(void)
{
	while (S->length > 0) {
		struct choice *c = &S->path[S->length - 1];

		while (++c->taken < c->n)
			if (affordable(c, c->taken))
				return true;
		S->length--;
	}
	return false;
}

static void forget_states(void)
{
	memset(S->seen, 0, SEEN_SLOTS * sizeof(*S->seen));
	S->nr_seen = 0;
}

static void write_schedule(struct result *r)
{
	size_t n = 0;

	r->schedule[0] = 0;
	for (unsigned i = 0; i < S->nr_extra; i++)
		n += (size_t)snprintf(
			r->schedule + n, sizeof(r->schedule) - n, "+%lx ",
			(unsigned long)((S->extra[i] << 3) - (uintptr_t)__data_start));
	for (unsigned i = 0; i < S->length && n < sizeof(r->schedule) - 20; i++)
		if (S->path[i].taken)
			n += (size_t)snprintf(r->schedule + n, sizeof(r->schedule) - n, "%u:%u ", i,
					      S->path[i].taken);
	if (n == 0)
		snprintf(r->schedule, sizeof(r->schedule), "0:0");
}

static bool one(struct result *r)
{
	execute();
	if (X->violated == I_NONE || (X->knobs & KNOB_COLLECT))
		return false;
	r->violated = X->violated;
	memcpy(r->message, X->message, sizeof(r->message));
	S->length = S->depth;
	write_schedule(r);
	return true;
}

struct result explore(enum mode mode, unsigned bound, uint64_t limit, uint64_t seed)
{
	struct result r = {0};
	uint64_t used = 0;

	S->bound = bound;
	do {
		adopt_conflicts(true);
		forget_states();
		X->stat.states = 0;
		S->mode = mode;
		S->length = 0;
		do {
			if (used++ == limit)
				return r;
			if (mode == MODE_RANDOM) {
				S->length = 0;
				S->random = seed * 0x9e3779b97f4a7c15ULL + used;
			}
			if (one(&r))
				return r;
			if (S->learned_more && mode != MODE_RANDOM)
				break;
		} while (mode == MODE_RANDOM || next_schedule());
	} while (S->learned_more);
	r.complete = mode != MODE_RANDOM;
	return r;
}

/* ---- the shortest trace ---- */

/* Executes the path; true when the same invariant falls. */
static bool still_violates(enum invariant i)
{
	execute();
	return X->violated == i;
}

static void minimise(struct result *r)
{
	static struct choice *kept; /* heap: survives execute(), which restores static data */
	struct choice *keep = malloc(sizeof(S->path));
	bool shorter = true;
	unsigned length = S->length;

	(void)kept;
	while (shorter) {
		shorter = false;
		for (unsigned i = 0; i < length; i++) {
			uint8_t was = S->path[i].taken;
			unsigned cut;

			if (!was)
				continue;
			memcpy(keep, S->path, sizeof(S->path));
			S->path[i].taken = 0;
			S->length = length;
			if (still_violates(r->violated)) {
				cut = S->depth < length ? S->depth : length;
				length = cut;
				shorter = true;
			} else {
				memcpy(S->path, keep, sizeof(S->path));
			}
		}
	}
	free(keep);
	while (length > 0 && !S->path[length - 1].taken)
		length--;
	S->length = length;
	still_violates(r->violated);
	memcpy(r->message, X->message, sizeof(r->message));
	S->length = length;
	write_schedule(r);
}

void explain(struct result *r)
{
	struct explorer *x = X;
	struct stats kept = x->stat;
	unsigned length = S->length;
	struct choice *path = malloc(sizeof(S->path));

	memcpy(path, S->path, sizeof(S->path));
	for (unsigned bound = 0; bound < 4; bound++) {
		struct result again = explore(MODE_BOUNDED, bound, 30000, 0);

		if (again.violated == r->violated) {
			*r = again;
			length = S->length;
			memcpy(path, S->path, sizeof(S->path));
			break;
		}
	}
	memcpy(S->path, path, sizeof(S->path));
	free(path);
	S->length = length;
	S->mode = MODE_EXHAUSTIVE;
	S->nr_seen = 0;
	/* Continue every execution to its end: no state is known. */
	S->mode = MODE_RANDOM;
	S->random = 0; /* xorshift stays at 0: always the default */
	minimise(r);
	x->tracing = true;
	trace_clear();
	execute();
	x->tracing = false;
	trace_print();
	x->stat = kept;
}

enum invariant replay(const char *schedule)
{
	char *end;

	adopt_conflicts(false);
	memset(S->path, 0, sizeof(S->path));
	S->length = 0;
	while (*schedule) {
		unsigned long a, b;

		if (*schedule == '+') {
			a = strtoul(schedule + 1, &end, 16);
			access_of(((uintptr_t)__data_start + a) >> 3)->shared = true;
		} else {
			a = strtoul(schedule, &end, 10);
			if (*end != ':' || a >= MAX_DEPTH)
				return I_CHECK;
			b = strtoul(end + 1, &end, 10);
			S->path[a].taken = (uint8_t)b;
			S->length = (unsigned)a + 1;
		}
		if (end == schedule)
			return I_CHECK;
		for (schedule = end; *schedule == ' '; schedule++)
			;
	}
	S->mode = MODE_RANDOM;
	S->random = 0;
	X->tracing = true;
	trace_clear();
	execute();
	X->tracing = false;
	trace_print();
	return X->violated;
}
