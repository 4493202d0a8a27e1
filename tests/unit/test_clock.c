/* SPDX-License-Identifier: BSD-2-Clause */
/* vm/clock.c: a VM's clock does not see its stops, and deadlines translate both ways. */
// links: vm/clock.c
#include "arch/machine.h"
#include "tests/tap.h"
#include "vm/clock.h"

static uint64_t now;

uint64_t machine_now(void)
{
	return now;
}

static void test_stops(void)
{
	struct vclock c;

	now = 5000;
	vclock_reset(&c);
	is_u64(vclock_now(&c), 0, "a clock that was reset shows 0");
	now = 6000;
	is_u64(vclock_now(&c), 0, "and stands");
	vclock_start(&c);
	now = 6700;
	is_u64(vclock_now(&c), 700, "it counts from the start");
	vclock_start(&c);
	is_u64(vclock_now(&c), 700, "starting a running clock changes nothing");
	vclock_stop(&c);
	now = 9000;
	is_u64(vclock_now(&c), 700, "a stop is not counted");
	vclock_stop(&c);
	is_u64(vclock_now(&c), 700, "stopping a stopped clock changes nothing");
	vclock_start(&c);
	now = 9001;
	is_u64(vclock_now(&c), 701, "it goes on where it stopped");
	vclock_reset(&c);
	ok(!c.running && vclock_now(&c) == 0, "reset: stopped at 0");
}

static void test_deadlines(void)
{
	struct vclock c;

	now = 1000;
	vclock_reset(&c);
	is_u64(vclock_to_host(&c, 5), VCLOCK_NEVER, "nothing is due while the clock stands");
	vclock_start(&c);
	is_u64(vclock_to_host(&c, 0), 1000, "VM time 0 in host time");
	is_u64(vclock_to_host(&c, 500), 1500, "later");
	is_u64(vclock_to_host(&c, VCLOCK_NEVER), VCLOCK_NEVER, "never stays never");
	is_u64(vclock_to_host(&c, UINT64_MAX - 999), VCLOCK_NEVER, "beyond 64 bits is never");
	is_u64(vclock_to_host(&c, UINT64_MAX - 1001), UINT64_MAX - 1, "the last that fits");
	is_u64(vclock_from_host(&c, 1500), 500, "and back");
	is_u64(vclock_from_host(&c, 900), 0, "before the VM began it showed 0");
}

/* A VM that is older than the host: its memory and clock were restored. */
static void test_older_than_host(void)
{
	struct vclock c = {.shown = 1000000};

	now = 1000;
	vclock_start(&c);
	is_u64(vclock_now(&c), 1000000, "starts where it was");
	now = 1500;
	is_u64(vclock_now(&c), 1000500, "and counts");
	is_u64(vclock_to_host(&c, 1000600), 1600, "a deadline to come");
	is_u64(vclock_to_host(&c, 999000), 0, "one right at the host's beginning");
	is_u64(vclock_to_host(&c, 3), 0, "one from before the host's time is due at once");
	is_u64(vclock_from_host(&c, 0), 999000, "the host's 0 in VM time");
}

int main(void)
{
	test_stops();
	test_deadlines();
	test_older_than_host();
	return tap_done();
}
