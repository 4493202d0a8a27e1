/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operations a format's unit exports: one indirect call per operation, none per entry. stage2.c
 * checks arguments and dispatches; contracts are in stage2/stage2.h.
 */
#ifndef SLUICE_STAGE2_OPS_H
#define SLUICE_STAGE2_OPS_H

#include "stage2/stage2.h"

struct stage2_format {
	const char *name;
	unsigned (*root_level)(void);
	unsigned (*root_entries)(void);
	unsigned (*shift)(unsigned level);
	unsigned (*max_leaf)(void);
	struct s2_walk (*lookup)(const struct stage2 *s, ipa_t at);
	int (*install)(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
		       struct s2_pool *pool);
	int (*install_run)(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
			   unsigned n, struct s2_pool *pool, unsigned *done);
	int (*install_mmio)(struct stage2 *s, ipa_t at, uint32_t region, uint64_t gen,
			    struct s2_pool *pool);
	void (*zap_mmio)(struct stage2 *s);
	int (*relax)(struct stage2 *s, ipa_t at, s2_attr_t attr);
	bool (*vacant)(const struct stage2 *s, uint64_t start, uint64_t end);
	int (*replace)(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
		       struct tlbi_gather *g);
	void (*unmap)(struct stage2 *s, uint64_t start, uint64_t end, struct s2_pool *pool,
		      struct tlbi_gather *g);
	void (*protect)(struct stage2 *s, uint64_t start, uint64_t end, s2_attr_t perm,
			struct s2_pool *pool, struct tlbi_gather *g);
	void (*harvest)(struct stage2 *s, uint64_t start, uint64_t end, enum s2_harvest how,
			uint64_t *log, struct s2_pool *pool, struct tlbi_gather *g);
	void (*age)(struct stage2 *s, uint64_t start, uint64_t end, uint64_t *log);
	int (*collapse)(struct stage2 *s, ipa_t at, unsigned level, struct tlbi_gather *g);
	void (*split)(struct stage2 *s, ipa_t at, unsigned level, struct s2_pool *pool,
		      struct tlbi_gather *g);
	void (*walk)(const struct stage2 *s, s2_visit_fn *fn, void *ctx);
	void (*destroy)(struct stage2 *s, struct tlbi_gather *g);
	unsigned gen_bits; /* of the slots' generation in an MMIO entry */
};

pa_t s2_pool_take(struct s2_pool *p);		/* not empty */
void s2_pool_put(struct s2_pool *p, pa_t page); /* a cleared frame comes back */

#endif
