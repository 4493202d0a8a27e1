/* SPDX-License-Identifier: BSD-2-Clause */
/* The walker for AMD nested page tables. */
#include "stage2/fmt_npt.h"
#include "stage2/walk.h"

const struct stage2_format stage2_npt = {.name = "NPT", FMT_OPS};
