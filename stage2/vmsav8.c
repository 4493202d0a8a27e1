/* SPDX-License-Identifier: BSD-2-Clause */
/* The walker for VMSAv8-64 stage-2 tables. */
#include "stage2/fmt_vmsav8.h"
#include "stage2/walk.h"

const struct stage2_format stage2_vmsav8 = {.name = "VMSAv8-64 stage 2", FMT_OPS};
