/* SPDX-License-Identifier: BSD-2-Clause */
/* vm/pcpu.c with a way to take the boot CPU's structure away again, so that one program can boot
 * several times. */
#include "vm/pcpu.c"

#include "tests/unit/fake_vm.h"

void fake_forget_pcpu(void)
{
	atomic_store64(&pcpus[PCPU_BOOT], 0);
}
