/* SPDX-License-Identifier: BSD-2-Clause */
/* What the rest of arch/x86 asks of SVM besides svm_ops: facts from CPUID (AMD APM vol 3, E.4.9).
 */
#ifndef SLUICE_ARCH_X86_SVM_H
#define SLUICE_ARCH_X86_SVM_H

#include <stdbool.h>
#include <stdint.h>

bool svm_present(void);
uint32_t svm_nr_asids(void); /* ASIDs 0..n-1 exist, 0 is the host's */
bool svm_has_flush_by_asid(void);

#endif
