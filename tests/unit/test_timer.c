/* SPDX-License-Identifier: BSD-2-Clause */
/* vm/timer.c: order, cancelling and moving against a brute-force model, and what the hardware is
 * set to. */
// links: vm/timer.c vm/pcpu.c
#include <stdlib.h>

#include "arch/machine.h"
#include "tests/tap.h"
#include "vm/pcpu.h"
#include "vm/timer.h"

#define TIMERS 200

static uint64_t now, hardware = TIMER_NEVER;
static unsigned hardware_sets;
static struct timer timers[TIMERS];
static unsigned fired[100000], nr_fired;

uint64_t machine_now(void)
{
	return now;
}

void machine_timer_set(uint64_t deadline_ns)
{
	hardware = deadline_ns;
	hardware_sets++;
}

static unsigned index_of(const struct timer *t)
{
	return (unsigned)(t - timers);
}

static void note(struct timer *t)
{
	fired[nr_fired++ % 100000] = index_of(t);
}

static void run_at(uint64_t t)
{
	now = t;
	nr_fired = 0;
	hardware = TIMER_NEVER; /* it fired, that is why this runs */
	timer_queue_run(&this_pcpu()->timers);
}

static void start(void (*fn)(struct timer *))
{
	timer_queue_init(&this_pcpu()->timers, 0);
	for (unsigned i = 0; i < TIMERS; i++)
		timer_init(&timers[i], fn);
	now = 0;
	hardware = TIMER_NEVER;
}

static void test_order(void)
{
	start(note);
	timer_arm(&timers[0], 300);
	is_u64(hardware, 300, "the hardware is set to the only timer");
	timer_arm(&timers[1], 100);
	is_u64(hardware, 100, "to an earlier one");
	timer_arm(&timers[2], 200);
	is_u64(hardware, 100, "and not to a later one");
	timer_arm(&timers[3], 200);
	run_at(99);
	is_u64(nr_fired, 0, "nothing before its time");
	is_u64(hardware, 100, "an early interrupt sets the hardware again");
	run_at(250);
	ok(nr_fired == 3 && fired[0] == 1 && fired[1] == 2 && fired[2] == 3,
	   "due ones by deadline, equal ones by arming");
	is_u64(hardware, 300, "then the next");
	ok(!timer_armed(&timers[1]) && timer_armed(&timers[0]), "who fired is not armed");
	timer_cancel(&timers[0]);
	is_u64(hardware, TIMER_NEVER, "none left: disarmed");
	run_at(1000);
	is_u64(nr_fired, 0, "a cancelled one does not fire");
	timer_cancel(&timers[0]);
	timer_cancel_sync(&timers[199]);
	ok(true, "cancelling what is not armed is allowed");
}

static void test_move(void)
{
	start(note);
	timer_arm(&timers[0], 100);
	timer_arm(&timers[0], 500);
	is_u64(hardware, 500, "moved back");
	run_at(400);
	is_u64(nr_fired, 0, "the old deadline is forgotten");
	timer_arm(&timers[0], 450);
	run_at(450);
	is_u64(nr_fired, 1, "moved forward, fires once");
	timer_arm(&timers[0], 600);
	timer_arm(&timers[0], TIMER_NEVER);
	ok(!timer_armed(&timers[0]), "never is a cancel");
}

static unsigned rearmed;

/* 0 re-arms itself into the past for ever; 1 cancels 2 and arms 3. */
static void busy(struct timer *t)
{
	note(t);
	if (t == &timers[0]) {
		rearmed++;
		timer_arm(t, 0);
		hardware_sets = 0;
	}
	if (t == &timers[1]) {
		timer_cancel(&timers[2]);
		timer_arm(&timers[3], now + 7);
	}
}

static void test_within(void)
{
	start(busy);
	timer_arm(&timers[0], 0);
	timer_arm(&timers[1], 50);
	timer_arm(&timers[2], 60);
	run_at(100);
	ok(nr_fired == 2 && fired[0] == 0 && fired[1] == 1,
	   "one that re-arms into the past fires once and hides no other");
	ok(!timer_armed(&timers[2]), "a timer function can cancel one that is due");
	is_u64(hardware, 100, "the past one is next");
	is_u64(hardware_sets, 1, "the hardware is set once for a run");
	run_at(108);
	ok(nr_fired == 2 && fired[0] == 0 && fired[1] == 3, "the next run takes both");
	is_u64(rearmed, 2, "once in each run");
}

/* Random arming, moving, cancelling and running against a table of deadlines. */
static void test_model(void)
{
	uint64_t model[TIMERS], order[TIMERS], next_order = 0, runs = 0;
	bool good = true;

	start(note);
	srand(1);
	for (unsigned i = 0; i < TIMERS; i++)
		model[i] = TIMER_NEVER;
	for (unsigned step = 0; step < 60000 && good; step++) {
		unsigned i = (unsigned)rand() % TIMERS, what = (unsigned)rand() % 8;

		if (what < 4) {
			model[i] = now + (uint64_t)rand() % 500;
			order[i] = next_order++;
			timer_arm(&timers[i], model[i]);
		} else if (what < 6) {
			model[i] = TIMER_NEVER;
			timer_cancel(&timers[i]);
		} else {
			run_at(now + (uint64_t)rand() % 40);
			runs += nr_fired;
			for (unsigned k = 0; k < nr_fired; k++) {
				unsigned best = 0;

				for (unsigned j = 1; j < TIMERS; j++)
					if (model[j] < model[best] ||
					    (model[j] == model[best] && model[j] != TIMER_NEVER &&
					     order[j] < order[best]))
						best = j;
				good = good && fired[k] == best && model[best] <= now;
				model[fired[k]] = TIMER_NEVER;
			}
		}
		uint64_t earliest = TIMER_NEVER;

		for (unsigned j = 0; j < TIMERS; j++) {
			earliest = model[j] < earliest ? model[j] : earliest;
			good = good && timer_armed(&timers[j]) == (model[j] != TIMER_NEVER);
		}
		good = good && hardware == earliest;
		/* what > 5: everything due was taken */
		good = good && (what < 6 || earliest > now);
	}
	ok(good, "60000 random operations as the model says");
	ok(runs > 5000, "and timers fired (%u)", (unsigned)runs);
}

int main(void)
{
	pcpu_init(PCPU_BOOT);
	test_order();
	test_move();
	test_within();
	test_model();
	return tap_done();
}
