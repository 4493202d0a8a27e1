/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses and entries as types of their own, so that a guest's address cannot be passed where a
 * machine's is meant: pa_t machine-physical, ipa_t guest-physical, va_t hypervisor-virtual, pte_t
 * one translation entry of whatever format.
 */
#ifndef SLUICE_MM_TYPES_H
#define SLUICE_MM_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  (1ULL << PAGE_SHIFT)
#define PAGE_MASK  (PAGE_SIZE - 1)

typedef struct {
	uint64_t v;
} pa_t;

typedef struct {
	uint64_t v;
} ipa_t;

typedef struct {
	uint64_t v;
} va_t;

typedef struct {
	uint64_t v;
} pte_t;

static inline pa_t pa(uint64_t v)
{
	return (pa_t){v};
}

static inline ipa_t ipa(uint64_t v)
{
	return (ipa_t){v};
}

static inline pte_t pte(uint64_t v)
{
	return (pte_t){v};
}

/* A stretch of machine memory, bytes. */
struct mem_range {
	pa_t base;
	uint64_t size;
};

#endif
