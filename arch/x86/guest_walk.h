/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Translation of a guest's linear addresses through the guest's own page tables, in every paging
 * mode, with the permission checks, the #PF error codes and the accessed and dirty bits of hardware
 * (Intel SDM volume 3, 4.6-4.8; AMD APM volume 2, 5.3-5.6). Guest memory is reached only through
 * vm/guestmem.h, so this is host-buildable.
 */
#ifndef SLUICE_ARCH_X86_GUEST_WALK_H
#define SLUICE_ARCH_X86_GUEST_WALK_H

#include <stdbool.h>
#include <stdint.h>

struct gcache;
struct guestmem;

/*
 * Windows onto guest memory that a vCPU keeps: [0] for instruction bytes, [level] for the page
 * table of that level (1..5) that was walked last.
 */
#define GUEST_WINDOWS 6

/* The state of a vCPU that decides how linear addresses translate. */
struct guest_paging {
	uint64_t cr0;
	uint64_t cr3;
	uint64_t cr4;
	uint64_t efer;
	uint32_t pkru;	   /* consulted when CR4.PKE is set */
	uint8_t phys_bits; /* the guest's physical address width, CPUID 80000008 EAX[7:0]: 32..52 */
	bool no_page_1g;   /* CPUID 80000001 EDX[26] is clear: 1 GiB entries are reserved */
	struct gcache *windows; /* of the vCPU, GUEST_WINDOWS; or NULL: walks without them */
	bool amd; /* AMD's reserved bits: bit 8 of PML5E, PML4E and non-leaf PDPE (APM 5.3.3) */
};

/* What an access does; a read when neither WALK_WRITE nor WALK_EXEC. */
#define WALK_WRITE 0x1U
#define WALK_EXEC  0x2U
#define WALK_USER  0x4U /* CPL 3; clear also for implicit accesses to system tables */
#define WALK_AC	   0x8U /* explicit supervisor access with EFLAGS.AC set: SMAP does not apply */

enum walk_result {
	WALK_OK,
	WALK_FAULT,   /* #PF with the given error code, CR2 = linear */
	WALK_NO_RAM,  /* a guest page table lies outside guest RAM; *gpa is where the walk was */
	WALK_CONTEND, /* other vCPUs kept changing the tables; run the guest again */
};

/* #PF error code (SDM volume 3, 4.7). */
#define PF_ERR_P    0x01U
#define PF_ERR_W    0x02U
#define PF_ERR_U    0x04U
#define PF_ERR_RSVD 0x08U
#define PF_ERR_I    0x10U
#define PF_ERR_PK   0x20U

/*
 * Translates one linear address (already canonical, or truncated to 32 bits outside 64-bit mode)
 * for an access that does not leave its 4 KiB page. With WALK_OK *gpa is the guest-physical address
 * and the accessed and dirty bits are set, atomically against the guest's other vCPUs. With
 * WALK_FAULT *error is the error code and no bit has changed.
 *
 * PAE: the four page-directory pointers are read from memory at each walk, as processors do under
 * nested paging (APM volume 2, 15.25.10).
 */
enum walk_result guest_walk(struct guestmem *gm, const struct guest_paging *paging, uint64_t linear,
			    unsigned access, uint64_t *gpa, uint32_t *error);

#endif
