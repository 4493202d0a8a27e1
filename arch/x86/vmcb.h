/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual machine control block of AMD SVM. Layout: AMD64 APM volume 2 (24593), appendix B;
 * exit codes: appendix C; semantics: chapter 15, section numbers beside the fields.
 */
#ifndef SLUICE_ARCH_X86_VMCB_H
#define SLUICE_ARCH_X86_VMCB_H

#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"

/* Segment register as the save area holds it; attrib is the packed form of appendix B.2, see
 * ATTR_*. */
struct vmcb_seg {
	uint16_t selector;
	uint16_t attrib;
	uint32_t limit;
	uint64_t base;
};

/* attrib: descriptor bits 55:52 and 47:40, packed into 11:0. */
#define ATTR_TYPE_MASK 0x000fu
#define ATTR_TYPE_CODE 0x000bu /* execute, read, accessed */
#define ATTR_TYPE_DATA 0x0003u /* read, write, accessed */
#define ATTR_TYPE_LDT  0x0002u
#define ATTR_TYPE_TSS  0x000bu /* 32- or 64-bit TSS, busy */
#define ATTR_S	       0x0010u /* code or data, not system */
#define ATTR_DPL_SHIFT 5
#define ATTR_P	       0x0080u
#define ATTR_L	       0x0200u
#define ATTR_DB	       0x0400u
#define ATTR_G	       0x0800u

/* misc1, offset 00Ch */
#define SVM_INTERCEPT_INTR     (1u << 0)
#define SVM_INTERCEPT_NMI      (1u << 1)
#define SVM_INTERCEPT_INIT     (1u << 3)
#define SVM_INTERCEPT_VINTR    (1u << 4)
#define SVM_INTERCEPT_CR0_SEL  (1u << 5) /* writes that change more than TS and MP */
#define SVM_INTERCEPT_RDPMC    (1u << 15)
#define SVM_INTERCEPT_CPUID    (1u << 18)
#define SVM_INTERCEPT_IRET     (1u << 20)
#define SVM_INTERCEPT_INVD     (1u << 22)
#define SVM_INTERCEPT_HLT      (1u << 24)
#define SVM_INTERCEPT_INVLPGA  (1u << 26)
#define SVM_INTERCEPT_IOIO     (1u << 27)
#define SVM_INTERCEPT_MSR      (1u << 28)
#define SVM_INTERCEPT_FERR     (1u << 30)
#define SVM_INTERCEPT_SHUTDOWN (1u << 31)

/* misc2, offset 010h */
#define SVM_INTERCEPT_VMRUN   (1u << 0)
#define SVM_INTERCEPT_VMMCALL (1u << 1)
#define SVM_INTERCEPT_VMLOAD  (1u << 2)
#define SVM_INTERCEPT_VMSAVE  (1u << 3)
#define SVM_INTERCEPT_STGI    (1u << 4)
#define SVM_INTERCEPT_CLGI    (1u << 5)
#define SVM_INTERCEPT_SKINIT  (1u << 6)
#define SVM_INTERCEPT_WBINVD  (1u << 9)
#define SVM_INTERCEPT_MONITOR (1u << 10)
#define SVM_INTERCEPT_MWAIT   (1u << 11)
#define SVM_INTERCEPT_XSETBV  (1u << 13)
#define SVM_INTERCEPT_RDPRU   (1u << 14)

/* int_ctl, offset 060h (15.21.4) */
#define SVM_V_TPR_MASK	   0x0fu
#define SVM_V_IRQ	   (1u << 8)
#define SVM_V_IGN_TPR	   (1u << 20)
#define SVM_V_INTR_MASKING (1u << 24)

#define SVM_INT_SHADOW 1u /* offset 068h bit 0 (15.21.5) */
#define SVM_NP_ENABLE  1u /* offset 090h bit 0 (15.25) */

/* tlb_control, offset 05Ch (15.16.1) */
#define SVM_TLB_NOTHING	   0u
#define SVM_TLB_FLUSH_ALL  1u
#define SVM_TLB_FLUSH_ASID 3u /* CPUID 8000000A EDX[6] */

/* EVENTINJ and EXITINTINFO (15.20) */
#define SVM_EVENT_INTR	    (0u << 8)
#define SVM_EVENT_NMI	    (2u << 8)
#define SVM_EVENT_EXCEPTION (3u << 8)
#define SVM_EVENT_SOFT_INT  (4u << 8)
#define SVM_EVENT_TYPE_MASK (7u << 8)
#define SVM_EVENT_VECTOR    0xffu
#define SVM_EVENT_HAS_ERROR (1u << 11)
#define SVM_EVENT_VALID	    (1u << 31)

/* clean bits, offset 0C0h (15.15.3): set = unchanged since this pCPU last ran this VMCB */
#define SVM_CLEAN_INTERCEPTS (1u << 0) /* intercepts, TSC offset, pause filter */
#define SVM_CLEAN_IOPM	     (1u << 1)
#define SVM_CLEAN_ASID	     (1u << 2)
#define SVM_CLEAN_TPR	     (1u << 3) /* V_TPR, V_IRQ, V_INTR_PRIO, ... */
#define SVM_CLEAN_NP	     (1u << 4) /* nested paging: NCR3, G_PAT */
#define SVM_CLEAN_CRX	     (1u << 5) /* CR0, CR3, CR4, EFER */
#define SVM_CLEAN_DRX	     (1u << 6)
#define SVM_CLEAN_DT	     (1u << 7) /* GDT, IDT */
#define SVM_CLEAN_SEG	     (1u << 8) /* CS DS SS ES, CPL */
#define SVM_CLEAN_CR2	     (1u << 9)
#define SVM_CLEAN_ALL	     0x3ffu

/* exit codes, appendix C */
enum svm_exit {
	SVM_EXIT_CR0_READ = 0x000, /* ..0x00f */
	SVM_EXIT_CR4_READ = 0x004,
	SVM_EXIT_CR0_WRITE = 0x010, /* ..0x01f */
	SVM_EXIT_CR4_WRITE = 0x014,
	SVM_EXIT_CR8_WRITE = 0x018,
	SVM_EXIT_DR_READ = 0x020,  /* ..0x02f */
	SVM_EXIT_DR_WRITE = 0x030, /* ..0x03f */
	SVM_EXIT_EXCP_DB = 0x041,
	SVM_EXIT_EXCP_AC = 0x051,
	SVM_EXIT_EXCP_MC = 0x052,
	SVM_EXIT_INTR = 0x060,
	SVM_EXIT_NMI = 0x061,
	SVM_EXIT_INIT = 0x063,
	SVM_EXIT_VINTR = 0x064,
	SVM_EXIT_CR0_SEL_WRITE = 0x065,
	SVM_EXIT_RDPMC = 0x06f,
	SVM_EXIT_CPUID = 0x072,
	SVM_EXIT_IRET = 0x074,
	SVM_EXIT_INVD = 0x076,
	SVM_EXIT_HLT = 0x078,
	SVM_EXIT_INVLPGA = 0x07a,
	SVM_EXIT_IOIO = 0x07b,
	SVM_EXIT_MSR = 0x07c,
	SVM_EXIT_FERR_FREEZE = 0x07e,
	SVM_EXIT_SHUTDOWN = 0x07f,
	SVM_EXIT_VMRUN = 0x080,
	SVM_EXIT_VMMCALL = 0x081,
	SVM_EXIT_VMLOAD = 0x082,
	SVM_EXIT_VMSAVE = 0x083,
	SVM_EXIT_STGI = 0x084,
	SVM_EXIT_CLGI = 0x085,
	SVM_EXIT_SKINIT = 0x086,
	SVM_EXIT_WBINVD = 0x089,
	SVM_EXIT_MONITOR = 0x08a,
	SVM_EXIT_MWAIT = 0x08b,
	SVM_EXIT_MWAIT_ARMED = 0x08c,
	SVM_EXIT_XSETBV = 0x08d,
	SVM_EXIT_RDPRU = 0x08e,
	SVM_EXIT_NPF = 0x400,
};

/* VMEXIT_INVALID is -1; some emulators store only its low half, so only that is compared. */
#define SVM_EXIT_INVALID 0xffffffffu

/* EXITINFO1 of IOIO (15.10.2) */
#define SVM_IOIO_IN	    (1u << 0)
#define SVM_IOIO_STR	    (1u << 2)
#define SVM_IOIO_SIZE_SHIFT 4 /* one bit each for 8, 16, 32: the bits spell the size in bytes */
#define SVM_IOIO_PORT_SHIFT 16

/* EXITINFO1 of NPF (15.25.6) */
#define SVM_NPF_WRITE BIT(1)
#define SVM_NPF_FETCH BIT(4)
#define SVM_NPF_FINAL BIT(32) /* on the final address; else (bit 33) on a guest page table */

struct vmcb_control {
	uint16_t cr_read, cr_write;   /* 000 */
	uint16_t dr_read, dr_write;   /* 004 */
	uint32_t exceptions;	      /* 008 */
	uint32_t misc1, misc2, misc3; /* 00C */
	uint8_t reserved1[0x3c - 0x18];
	uint16_t pause_threshold, pause_count; /* 03C */
	uint64_t iopm_base;		       /* 040 */
	uint64_t msrpm_base;		       /* 048 */
	uint64_t tsc_offset;		       /* 050 */
	uint32_t asid;			       /* 058 */
	uint32_t tlb_control;		       /* 05C */
	uint32_t int_ctl;		       /* 060 */
	uint32_t int_vector;		       /* 064 */
	uint64_t int_shadow;		       /* 068 */
	uint64_t exit_code;		       /* 070 */
	uint64_t exit_info1;		       /* 078 */
	uint64_t exit_info2;		       /* 080 */
	uint32_t exit_int_info;		       /* 088 */
	uint32_t exit_int_error;	       /* 08C */
	uint64_t np_enable;		       /* 090 */
	uint8_t reserved2[0xa8 - 0x98];
	uint32_t event_inj;   /* 0A8 */
	uint32_t event_error; /* 0AC */
	uint64_t ncr3;	      /* 0B0 */
	uint64_t lbr_virt;    /* 0B8 */
	uint32_t clean;	      /* 0C0 */
	uint32_t reserved3;
	uint64_t next_rip; /* 0C8, with nrip-save (15.7.1) */
	uint8_t insn_len;  /* 0D0, with decode assists (15.8.4) */
	uint8_t insn[15];  /* 0D1 */
	uint8_t reserved4[0x400 - 0xe0];
};

struct vmcb_save {
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr; /* 000 */
	uint8_t reserved1[0xcb - 0xa0];
	uint8_t cpl; /* 0CB */
	uint32_t reserved2;
	uint64_t efer; /* 0D0 */
	uint8_t reserved3[0x148 - 0xd8];
	uint64_t cr4, cr3, cr0; /* 148 */
	uint64_t dr7, dr6;	/* 160 */
	uint64_t rflags, rip;	/* 170 */
	uint8_t reserved4[0x1d8 - 0x180];
	uint64_t rsp;					     /* 1D8 */
	uint64_t s_cet, ssp, isst;			     /* 1E0 */
	uint64_t rax;					     /* 1F8 */
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base; /* 200 */
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;    /* 228 */
	uint64_t cr2;					     /* 240 */
	uint8_t reserved5[0x268 - 0x248];
	uint64_t g_pat;	 /* 268 */
	uint64_t dbgctl; /* 270 */
	uint8_t reserved6[0xc00 - 0x278];
};

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
};

_Static_assert(offsetof(struct vmcb_control, iopm_base) == 0x40, "APM B.1");
_Static_assert(offsetof(struct vmcb_control, tlb_control) == 0x5c, "APM B.1");
_Static_assert(offsetof(struct vmcb_control, exit_code) == 0x70, "APM B.1");
_Static_assert(offsetof(struct vmcb_control, np_enable) == 0x90, "APM B.1");
_Static_assert(offsetof(struct vmcb_control, event_inj) == 0xa8, "APM B.1");
_Static_assert(offsetof(struct vmcb_control, clean) == 0xc0, "APM B.1");
_Static_assert(offsetof(struct vmcb_control, next_rip) == 0xc8, "APM B.1");
_Static_assert(offsetof(struct vmcb_control, insn_len) == 0xd0, "APM B.1");
_Static_assert(offsetof(struct vmcb, save) == 0x400, "APM B.2");
_Static_assert(offsetof(struct vmcb_save, cpl) == 0xcb, "APM B.2");
_Static_assert(offsetof(struct vmcb_save, efer) == 0xd0, "APM B.2");
_Static_assert(offsetof(struct vmcb_save, cr4) == 0x148, "APM B.2");
_Static_assert(offsetof(struct vmcb_save, rip) == 0x178, "APM B.2");
_Static_assert(offsetof(struct vmcb_save, rsp) == 0x1d8, "APM B.2");
_Static_assert(offsetof(struct vmcb_save, rax) == 0x1f8, "APM B.2");
_Static_assert(offsetof(struct vmcb_save, cr2) == 0x240, "APM B.2");
_Static_assert(offsetof(struct vmcb_save, g_pat) == 0x268, "APM B.2");
_Static_assert(sizeof(struct vmcb) == 4096, "one page");

#endif
