/* SPDX-License-Identifier: BSD-2-Clause */
/* The walker for Intel extended page tables. */
#include "stage2/fmt_ept.h"
#include "stage2/walk.h"

const struct stage2_format stage2_ept = {.name = "EPT", FMT_OPS};
