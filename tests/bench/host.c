/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program around core.c: machine memory, commands that are only counted, and the marks between
 * which valgrind's callgrind counts instructions. Argument: npt, ept or vmsav8.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <valgrind/callgrind.h>

#include "lib/check.h"
#include "lib/log.h"
#include "mm/kalloc.h"
#include "stage2/stage2.h"
#include "tests/bench/bench.h"

#define ARENA (1ULL << 30)

struct hw_mmu_caps bench_caps = {
	.nr_tags = 256,
	.flush_by_tag = true,
	.pa_bits = 48,
	.ipa_bits = 40,
	.max_leaf_level = 2,
	.accessed_dirty = true,
	.tlbi_range = true,
	.tlbi_ttl = true,
	.fwb = true,
	.icache_coherent = true,
};
const struct stage2_format *bench_format;
uint64_t bench_commands, bench_barriers, bench_kicks;
void (*bench_on_relax)(void);

static char *arena;

/* One dump of callgrind's per figure; its `desc: Trigger` line carries this text. */
void bench_begin(void)
{
	bench_commands = bench_barriers = bench_kicks = 0;
	CALLGRIND_ZERO_STATS;
	CALLGRIND_TOGGLE_COLLECT;
}

void bench_end(const char *format, const char *page, const char *what, uint64_t entries)
{
	char name[200];

	CALLGRIND_TOGGLE_COLLECT;
	snprintf(name, sizeof(name), "%s %s %s %llu %llu %llu %llu", format, page, what,
		 (unsigned long long)entries, (unsigned long long)bench_commands,
		 (unsigned long long)bench_barriers, (unsigned long long)bench_kicks);
	CALLGRIND_DUMP_STATS_AT(name);
}

unsigned hw_cpu(void)
{
	return 0;
}

void *hw_frame_ptr(pa_t pa)
{
	return arena + pa.v;
}

pa_t hw_frame_pa(const void *p)
{
	return pa((uint64_t)((const char *)p - arena));
}

void hw_relax(void)
{
	if (bench_on_relax)
		bench_on_relax();
}

/* x86's are for the compiler only. */
void hw_barrier(enum hw_barrier kind)
{
	bench_barriers += bench_caps.tags == HW_TAGS_VMID && kind != HW_BARRIER_CONTEXT;
	__asm__ volatile("" ::: "memory");
}

void hw_tlbi(const struct hw_tlbi_cmd *cmd)
{
	(void)cmd;
	bench_commands++;
}

void hw_load_root(pa_t root, uint32_t tag)
{
	(void)root, (void)tag;
}

void hw_cache(enum hw_cache_op op, pa_t at, uint64_t size)
{
	(void)op, (void)at, (void)size;
}

void hw_kick(unsigned pcpu)
{
	(void)pcpu;
	bench_kicks++;
}

const struct hw_mmu_caps *hw_mmu_caps(void)
{
	return &bench_caps;
}

const struct stage2_format *hw_stage2_format(void)
{
	return bench_format;
}

void *kzalloc(size_t n)
{
	return calloc(1, n);
}

void kfree(void *p)
{
	free(p);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

_Noreturn void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	abort();
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "npt";

	if (strcmp(name, "ept") == 0) {
		bench_format = &stage2_ept;
		bench_caps.tags = HW_TAGS_VPID;
	} else if (strcmp(name, "vmsav8") == 0) {
		bench_format = &stage2_vmsav8;
		bench_caps.tags = HW_TAGS_VMID;
	} else {
		bench_format = &stage2_npt;
		bench_caps.tags = HW_TAGS_ASID;
	}
	arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED)
		return 1;
	bench_core();
	return 0;
}
