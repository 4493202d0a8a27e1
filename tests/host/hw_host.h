/* SPDX-License-Identifier: BSD-2-Clause */
/* arch/hw.h on the host: machine memory is an arena, and a test can see and steer the rest. */
#ifndef SLUICE_TESTS_HOST_HW_HOST_H
#define SLUICE_TESTS_HOST_HW_HOST_H

#include "arch/hw.h"

#define HOST_MEMORY                                                                                \
	(64ULL << 30) /* machine addresses below this exist; touched pages only cost               \
		       */

extern struct hw_mmu_caps host_caps;			    /* what hw_mmu_caps() returns */
extern const struct stage2_format *host_format;		    /* what hw_stage2_format() returns */
extern _Thread_local unsigned host_cpu;			    /* what hw_cpu() returns */
extern unsigned host_kicks[MAX_PCPUS];			    /* kicks received */
extern void (*host_on_tlbi)(const struct hw_tlbi_cmd *cmd); /* carries commands out, or NULL */
extern void (*host_on_barrier)(enum hw_barrier kind);	    /* or NULL */
extern void (*host_on_load)(pa_t root, uint32_t tag);	    /* hw_load_root, or NULL */
extern void (*host_on_cache)(enum hw_cache_op op, pa_t at, uint64_t size); /* or NULL */
extern void (*host_on_relax)(void);			  /* called while somebody spins, or NULL */
extern void (*host_on_atomic)(const void *p, bool write); /* called before each shared access */

/* Gives the memory behind the arena back to the operating system; all of it is zero then. */
void host_discard(void);

#endif
