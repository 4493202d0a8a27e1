/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walker on a format that no machine has (stage2/fmt_mock.h): what it takes for granted of real
 * ones shows here.
 */
// links: stage2/stage2.c tlbi/space.c tlbi/agent.c tlbi/gather.c tlbi/broadcast.c
// links: tlbi/vmid.c mm/frames.c mm/reclaim.c mm/ledger.c lib/log.c lib/string.c
#include "stage2/fmt_mock.h"
#include "stage2/walk.h"

static const struct stage2_format stage2_mock = {.name = "mock", FMT_OPS};

#define FORMAT	     stage2_mock
#define SPLIT_BREAKS true

static s2_attr_t widened(s2_attr_t perm)
{
	return perm | S2_R;
}

#include "tests/unit/walker_cases.h"

int main(void)
{
	walker_cases();
	return tap_done();
}
