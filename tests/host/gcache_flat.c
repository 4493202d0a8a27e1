/* SPDX-License-Identifier: BSD-2-Clause */
/* Windows onto guest memory (vm/gcache.h) over whatever guest memory a test has. */
#include "vm/gcache.h"

#include "vm/guestmem.h"

int gcache_read(struct gcache *c, struct guestmem *gm, ipa_t ipa, void *dst, size_t n)
{
	(void)c;
	return guestmem_read(gm, ipa, dst, n);
}
