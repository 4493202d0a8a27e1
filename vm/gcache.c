/* SPDX-License-Identifier: BSD-2-Clause */
/* Windows onto guest memory: checked, used and refreshed. See vm/gcache.h. */
#include "vm/gcache.h"

#include "arch/hw.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/ledger.h"
#include "stage2/stage2.h"
#include "tlbi/agent.h"
#include "vm/guestmem.h"

/* Refreshes that may be overtaken by reductions before the slow way is taken. */
#define REFRESHES 3

static bool within_page(ipa_t ipa, size_t n)
{
	return n <= PAGE_SIZE - (ipa.v & PAGE_MASK);
}

/* In the reader section: nothing was taken away since the frame was looked up. */
static bool valid(const struct gcache *c, const struct guestmem *gm, ipa_t ipa, bool write)
{
	return c->space == gm->s2.space.id && c->page.v == align_down(ipa.v, PAGE_SIZE) &&
	       (c->writable || !write) && c->epoch == space_epoch(&gm->s2.space);
}

/*
 * True when the access was done. memcpy moves eight aligned bytes at once, so that an entry which a
 * vCPU is changing is seen old or new, never torn.
 */
static bool use(struct gcache *c, struct guestmem *gm, ipa_t ipa, void *dst, const void *src,
		size_t n)
{
	bool done;

	reader_enter(&gm->s2.space);
	done = valid(c, gm, ipa, src != NULL);
	if (done) {
		char *p = (char *)c->frame + (ipa.v & PAGE_MASK);

		if (ledger_in_use() && !src)
			ledger_read(hw_frame_pa(p), n);
		memcpy(src ? p : dst, src ? src : p, n);
		if (ledger_in_use() && src)
			ledger_wrote(hw_frame_pa(p), n);
	}
	reader_exit();
	return done;
}

/*
 * The epoch is sampled first: what moves it during the look-up makes the window invalid before it
 * was used once. False when there is no such page, or not for writing.
 */
static bool refresh(struct gcache *c, struct guestmem *gm, ipa_t ipa, bool write)
{
	struct s2_walk w;
	bool ok;

	c->space = 0;
	reader_enter(&gm->s2.space);
	c->epoch = space_epoch(&gm->s2.space);
	c->page = (ipa_t){align_down(ipa.v, PAGE_SIZE)};
	w = stage2_lookup(&gm->s2, c->page);
	ok = w.kind == S2_LEAF && !(w.attr & S2_NOREF) && (!write || (w.attr & S2_W));
	if (ok && write)
		ok = stage2_relax(&gm->s2, c->page, S2_DIRTY) == 0;
	if (ok) {
		c->frame = hw_frame_ptr(w.pa);
		c->writable = write;
		c->space = gm->s2.space.id;
	}
	reader_exit();
	return ok;
}

int gcache_read(struct gcache *c, struct guestmem *gm, ipa_t ipa, void *dst, size_t n)
{
	if (within_page(ipa, n))
		for (unsigned i = 0; i < REFRESHES; i++) {
			if (use(c, gm, ipa, dst, NULL, n))
				return 0;
			if (!refresh(c, gm, ipa, false))
				break;
		}
	return guestmem_read(gm, ipa, dst, n);
}

int gcache_write(struct gcache *c, struct guestmem *gm, ipa_t ipa, const void *src, size_t n)
{
	if (within_page(ipa, n))
		for (unsigned i = 0; i < REFRESHES; i++) {
			if (use(c, gm, ipa, NULL, src, n))
				return 0;
			if (!refresh(c, gm, ipa, true))
				break;
		}
	/* Populates, and lets a watched page be written and logged: the next refresh finds that. */
	return guestmem_write(gm, ipa, src, n);
}

int gcache_try_read(struct gcache *c, struct guestmem *gm, ipa_t ipa, void *dst, size_t n)
{
	bool done = within_page(ipa, n) && !reader_active() && use(c, gm, ipa, dst, NULL, n);

	return done ? 0 : -EAGAIN;
}

int gcache_try_write(struct gcache *c, struct guestmem *gm, ipa_t ipa, const void *src, size_t n)
{
	bool done = within_page(ipa, n) && !reader_active() && use(c, gm, ipa, NULL, src, n);

	return done ? 0 : -EAGAIN;
}
