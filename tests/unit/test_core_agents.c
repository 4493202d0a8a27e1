/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The races between an agent that begins and a requester, one by one: at every shared access of the
 * one, the other acts in full. Kicks are neither lost nor sent to who is clean; an agent is behind
 * from the moment that it is published; what is settled stays settled.
 */
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c tlbi/broadcast.c tlbi/vmid.c
// links: mm/frames.c mm/reclaim.c mm/ledger.c lib/log.c lib/string.c
#include "lib/check.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/gather.h"
#include "tlbi/tags.h"

#define LAST (MAX_PCPUS - 1)

static struct space a, b;

static void move_epoch(struct space *s)
{
	atomic_add64(&s->epoch, 1);
}

/* ---- what happens at the n-th shared access ---- */

static unsigned countdown, accesses;
static void (*interfere)(void);

static void at_access(const void *p, bool write)
{
	(void)p;
	(void)write;
	accesses++;
	if (--countdown)
		return;
	host_on_atomic = NULL;
	interfere();
	host_on_atomic = at_access;
}

/* Runs fn with `what` at its n-th access; false when it has fewer. */
static bool with(void (*fn)(void), unsigned n, void (*what)(void))
{
	countdown = n;
	accesses = 0;
	interfere = what;
	host_on_atomic = at_access;
	fn();
	host_on_atomic = NULL;
	return accesses >= n;
}

/* ---- the number of agents ---- */

static void init_low(void)
{
	agent_init(2);
}

static void init_high(void)
{
	agent_init(LAST);
}

static bool counts(unsigned pcpu)
{
	bool seen;

	host_cpu = pcpu;
	reader_enter(&a);
	host_cpu = 0;
	seen = agents_behind(a.id, space_epoch(&a) + 1);
	host_cpu = pcpu;
	reader_exit();
	host_cpu = 0;
	return seen;
}

static void test_number(void)
{
	agent_init(1);
	ok(counts(0) && counts(1) && !counts(2), "two pCPUs count");
	agent_init(0);
	ok(counts(1), "they may start in any order");
	with(init_low, 2, init_high);
	ok(counts(2) && counts(LAST), "two that start at once both count (I1)");
}

/* ---- publication ---- */

static unsigned unseen, published;

/* Whoever looks now must find the agent behind a batch that comes. */
static void look_reader(void)
{
	if (!reader_active())
		return;
	published++;
	unseen += !agents_behind(b.id, space_epoch(&b) + 1);
}

static void look_guest(void)
{
	if (!agent_in_guest(1))
		return;
	published++;
	unseen += !agents_behind(b.id, space_epoch(&b) + 1);
}

static void begin_reader(void)
{
	reader_enter(&b);
}

static void begin_guest(void)
{
	agent_guest_begin(1, &b);
}

/* The last use was of a space with a far higher epoch. */
static void test_publication(void)
{
	unsigned points = 0;
	bool more = true;

	atomic_store64(&a.epoch, 1000);
	for (unsigned n = 1; more; n++) {
		reader_enter(&a);
		reader_exit();
		more = with(begin_reader, n, look_reader);
		reader_exit();
		points += more;
	}
	ok(published > 1 && unseen == 0, "a reader is seen at each of %u points (I6)", points);
	published = points = 0;
	more = true;
	for (unsigned n = 1; more; n++) {
		agent_guest_clean(1, agent_guest_begin(1, &a));
		agent_guest_end(1);
		more = with(begin_guest, n, look_guest);
		agent_guest_end(1);
		points += more;
	}
	ok(published > 1 && unseen == 0, "a guest is seen at each of %u points (I1)", points);
}

/* ---- requests ---- */

static void request(void)
{
	host_cpu = 2;
	move_epoch(&b);
	agents_force(b.id, space_epoch(&b));
	host_cpu = 1;
}

static uint64_t sampled;

static void enter(void)
{
	sampled = agent_guest_begin(1, &b);
	agent_guest_clean(1, sampled);
}

static void test_requests(void)
{
	unsigned lost = 0, late = 0, needless = 0, served = 0;
	bool more = true;

	for (unsigned n = 1; more; n++) {
		bool behind;

		host_cpu = 1;
		host_kicks[1] = 0;
		more = with(enter, n, request);
		behind = agents_behind(b.id, space_epoch(&b));
		lost += behind && !host_kicks[1];
		served += more && !behind;
		/* An interrupt that came on the way makes the guest leave; the next stay begins. */
		if (!host_kicks[1]) {
			request();
			late += host_kicks[1] != 1;
			request();
			needless += host_kicks[1] != 1;
		}
		agent_guest_end(1);
	}
	is_u64(lost, 0, "a request at any point of an entry kicks it or is served by it (I1)");
	ok(served > 0, "some are served");
	is_u64(late, 0, "the next request finds the guest and kicks it");
	is_u64(needless, 0, "one kick serves all");
	host_cpu = 0;
}

static void obey(void)
{
	for (unsigned i = 1; i <= 2; i++)
		if (host_kicks[i] && agent_in_guest(i))
			agent_guest_end(i);
}

static void test_who_is_kicked(void)
{
	uint64_t kicks, coalesced, kicks_before, coalesced_before;

	memset(host_kicks, 0, sizeof(host_kicks));
	agent_count_kicks(0, &kicks_before, &coalesced_before);
	agent_guest_clean(1, agent_guest_begin(1, &b));
	move_epoch(&b);
	agent_guest_clean(2, agent_guest_begin(2, &b));
	host_on_relax = obey;
	agents_wait(b.id, space_epoch(&b));
	host_on_relax = NULL;
	ok(host_kicks[1] == 1 && !agent_in_guest(1), "who is behind is kicked and waited for");
	ok(host_kicks[2] == 0 && agent_in_guest(2), "who is clean is left alone");
	agents_wait(b.id, space_epoch(&b));
	is_u64(host_kicks[2], 0, "and not waited for");
	agent_guest_end(2);
	agent_count_kicks(0, &kicks, &coalesced);
	ok(kicks == kicks_before + 1 && coalesced == coalesced_before, "kicks are counted");
	agent_guest_begin(1, &b); /* takes the request away */
	agent_guest_end(1);
}

/* ---- settled ---- */

static uint64_t settle_to;

static void settle(void)
{
	space_behind(&b, settle_to);
}

static void settle_later(void)
{
	space_behind(&b, space_epoch(&b));
}

static void test_settled(void)
{
	uint64_t first;
	unsigned wrong = 0;
	bool more = true;

	first = space_epoch(&b);
	move_epoch(&b);
	ok(!space_behind(&b, first), "nobody is behind");
	is_u64(atomic_load64(&b.settled), first, "that much is settled, and no more");
	ok(space_behind(&b, first + 2), "an epoch to come is not");
	reader_enter(&b);
	ok(!space_behind(&b, first + 1), "a reader that begins now is not behind");
	move_epoch(&b);
	ok(space_behind(&b, first + 2), "but behind what comes then");
	is_u64(atomic_load64(&b.settled), first + 1, "so that is not settled");
	ok(!space_behind(&b, first + 1) && !space_behind(&b, first), "what was settled stays so");
	reader_exit();
	ok(!space_behind(&b, first + 2), "until it ends");
	settle_to = first + 2;
	with(settle, UINT32_MAX, NULL);
	is_u64(accesses, 1, "a settled epoch costs one load");
	for (unsigned n = 1; more; n++) {
		settle_to = space_epoch(&b) + 1;
		move_epoch(&b);
		move_epoch(&b);
		more = with(settle, n, settle_later);
		wrong += more && atomic_load64(&b.settled) != settle_to + 1;
	}
	is_u64(wrong, 0, "two that settle at once: the later epoch stays");
}

int main(void)
{
	tlbi_init();
	space_init(&a, pa(PAGE_SIZE));
	space_init(&b, pa(2 * PAGE_SIZE));
	ok(a.id && b.id && a.id != b.id, "spaces have ids of their own, never 0 (I4)");
	ok(space_epoch(&a) && !space_behind(&a, space_epoch(&a)), "a new space owes nothing");
	space_init(&b, pa(2 * PAGE_SIZE));
	is_u64(atomic_load64(&b.settled), space_epoch(&b), "and is known to");
	test_number();
	test_publication();
	test_requests();
	test_who_is_kicked();
	test_settled();
	return tap_done();
}
