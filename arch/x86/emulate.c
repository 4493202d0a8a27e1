/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Execution of one guest instruction. The order of things is the processor's: fetch, decode,
 * segment checks and translation of every operand with the access it will need, and only then
 * reads, which may have side effects in a device and so are made once, and writes. Registers are
 * changed in a copy that is committed at the end.
 */
#include "arch/x86/emulate.h"

#include "arch/x86/emulate_alu.h"
#include "arch/x86/regs.h"
#include "arch/x86/vmcb.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/types.h"
#include "vm/gcache.h"
#include "vm/guestmem.h"

/* Segment type bits, ATTR_TYPE_MASK (APM volume 2, 4.8.1 and 4.8.2). */
#define TYPE_RW	  0x2U /* data: writable; code: readable */
#define TYPE_DOWN 0x4U /* data: expand-down */
#define TYPE_CODE 0x8U

struct emu {
	struct emu_cpu *cpu;
	struct guestmem *gm;
	const struct emu_ops *ops;
	void *ctx;
	struct emu_fault *fault;
	struct insn in;
	enum insn_mode mode;
	uint64_t gpr[GPR_COUNT]; /* committed to *cpu in the end */
	uint64_t rflags;
	enum emu_result result; /* EMU_DONE until something stops the instruction */
	bool device;		/* a device was accessed */
};

/* A memory operand, translated: one part, or two when it crosses a page. */
struct ref {
	unsigned size; /* bytes in all */
	unsigned parts;
	bool device; /* known to be no RAM */
	struct {
		uint64_t gpa;
		unsigned size;
		bool ram;
	} part[2];
};

/* ---- how an instruction stops ---- */

static bool stop(struct emu *e, enum emu_result result)
{
	e->result = result;
	return false;
}

static bool raise(struct emu *e, uint8_t vector, bool has_error, uint32_t error)
{
	e->fault->vector = vector;
	e->fault->has_error = has_error;
	e->fault->error = error;
	return stop(e, EMU_FAULT);
}

static bool unsupported(struct emu *e, const char *why)
{
	e->fault->why = why;
	return stop(e, EMU_UNSUPPORTED);
}

/* ---- registers ---- */

static uint64_t get_reg(const struct emu *e, unsigned reg, unsigned size)
{
	return e->gpr[reg] & emu_mask(size);
}

/* 32-bit writes clear the upper half, narrower ones leave the rest alone (APM volume 1, 3.1.2). */
static void set_reg(struct emu *e, unsigned reg, unsigned size, uint64_t v)
{
	uint64_t mask = emu_mask(size);

	e->gpr[reg] = size == 4 ? v & mask : (e->gpr[reg] & ~mask) | (v & mask);
}

static uint64_t get_opnd_reg(const struct emu *e, const struct insn_opnd *o)
{
	return o->high ? (e->gpr[o->reg] >> 8) & 0xff : get_reg(e, o->reg, o->size);
}

static void set_opnd_reg(struct emu *e, const struct insn_opnd *o, uint64_t v)
{
	if (o->high)
		e->gpr[o->reg] = (e->gpr[o->reg] & ~0xff00ULL) | (v & 0xff) << 8;
	else
		set_reg(e, o->reg, o->size, v);
}

/* ---- segments ---- */

enum insn_mode emu_mode(const struct emu_cpu *cpu)
{
	uint16_t cs = cpu->seg[SEG_CS].attr;

	if ((cpu->paging.efer & EFER_LMA) && (cs & ATTR_L))
		return INSN_MODE_64;
	/*
	 * In real mode and virtual-8086 mode D is clear, except for the moments after CR0.PE was
	 * cleared with a 32-bit CS still loaded: there the processor goes by D as well.
	 */
	return cs & ATTR_DB ? INSN_MODE_32 : INSN_MODE_16;
}

static bool is_protected(const struct emu_cpu *cpu)
{
	return (cpu->paging.cr0 & CR0_PE) && !(cpu->rflags & RFLAGS_VM);
}

static bool is_canonical(const struct emu_cpu *cpu, uint64_t v)
{
	unsigned bits = cpu->paging.cr4 & CR4_LA57 ? 57 : 48;

	return (uint64_t)((int64_t)(v << (64 - bits)) >> (64 - bits)) == v;
}

static bool seg_allows_access(const struct emu_seg *seg, bool write)
{
	if (!(seg->attr & ATTR_P)) /* loaded with a null selector */
		return false;
	if (seg->attr & TYPE_CODE)
		return !write && (seg->attr & TYPE_RW);
	return !write || (seg->attr & TYPE_RW);
}

static bool seg_contains(const struct emu_seg *seg, bool typed, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;
	uint64_t top = seg->attr & ATTR_DB ? UINT32_MAX : UINT16_MAX;

	if (typed && (seg->attr & (TYPE_CODE | TYPE_DOWN)) == TYPE_DOWN)
		return offset > seg->limit && last <= top;
	return last <= seg->limit;
}

/* The linear address of seg:offset, or #GP or #SS. `offset` is cut to the address size already. */
static bool linearize(struct emu *e, unsigned segment, uint64_t offset, unsigned size, bool write,
		      uint64_t *linear)
{
	const struct emu_seg *seg = &e->cpu->seg[segment];
	uint8_t vector = segment == SEG_SS ? VEC_SS : VEC_GP;
	bool typed = is_protected(e->cpu);

	if (e->mode == INSN_MODE_64) {
		*linear = offset + (segment >= SEG_FS ? seg->base : 0);
		if (!is_canonical(e->cpu, *linear) || !is_canonical(e->cpu, *linear + size - 1))
			return raise(e, vector, true, 0);
		return true;
	}
	if ((typed && !seg_allows_access(seg, write)) || !seg_contains(seg, typed, offset, size))
		return raise(e, vector, true, 0);
	*linear = (uint32_t)(seg->base + offset);
	return true;
}

/* ---- translation ---- */

static bool translate(struct emu *e, uint64_t linear, unsigned access, uint64_t *gpa)
{
	const struct emu_cpu *cpu = e->cpu;
	uint32_t error = 0;

	if (cpu->cpl == 3)
		access |= WALK_USER;
	if (cpu->rflags & RFLAGS_AC)
		access |= WALK_AC;
	switch (guest_walk(e->gm, &cpu->paging, linear, access, gpa, &error)) {
	case WALK_OK:
		return true;
	case WALK_FAULT:
		e->fault->cr2 = linear;
		return raise(e, VEC_PF, true, error);
	case WALK_CONTEND:
		return stop(e, EMU_RETRY);
	default:
		return unsupported(e, "the guest's page tables are not in its RAM");
	}
}

/*
 * Whether the address that the hardware reported is this operand's; see struct emu_hint. Of a
 * repeated string instruction only the first element can be at that place of a page.
 */
_Static_assert(EMU_REP_MAX * 8 < PAGE_SIZE, "no element of a call has the page offset of another");
static bool hint_fits(const struct emu *e, uint64_t linear, unsigned size, bool write)
{
	const struct emu_hint *h = &e->cpu->hint;

	switch (e->in.op) {
	case INSN_MOVS: /* two memory operands: which one was it? */
	case INSN_CMPS:
	case INSN_PUSH:
	case INSN_POP:
		return false;
	default:
		return h->valid && (h->write || !write) && ((h->gpa ^ linear) & PAGE_MASK) == 0 &&
		       (linear & PAGE_MASK) + size <= PAGE_SIZE;
	}
}

static bool must_align(const struct emu_cpu *cpu)
{
	return cpu->cpl == 3 && (cpu->rflags & RFLAGS_AC) && (cpu->paging.cr0 & CR0_AM);
}

static bool translate_parts(struct emu *e, uint64_t linear, bool write, struct ref *ref)
{
	unsigned done = 0;

	if (hint_fits(e, linear, ref->size, write)) {
		ref->parts = 1;
		ref->part[0].gpa = e->cpu->hint.gpa;
		ref->part[0].size = ref->size;
		ref->device = e->cpu->hint.device;
		return true;
	}
	for (ref->parts = 0; done < ref->size; ref->parts++) {
		uint64_t at = linear + done;
		uint64_t room;
		unsigned n = ref->size - done;

		if (e->mode != INSN_MODE_64)
			at = (uint32_t)at;
		room = PAGE_SIZE - (at & PAGE_MASK);
		if (n > room)
			n = (unsigned)room;
		if (!translate(e, at, write ? WALK_WRITE : 0, &ref->part[ref->parts].gpa))
			return false;
		ref->part[ref->parts].size = n;
		done += n;
	}
	return true;
}

/* Checks and translates an operand; nothing is accessed yet. */
static bool resolve(struct emu *e, unsigned segment, uint64_t offset, unsigned size, bool write,
		    struct ref *ref)
{
	uint64_t linear;

	ref->size = size;
	ref->device = false;
	if (!linearize(e, segment, offset, size, write, &linear))
		return false;
	if (!translate_parts(e, linear, write, ref))
		return false;
	if (must_align(e->cpu) && !is_aligned(linear, size))
		return raise(e, VEC_AC, true, 0);
	for (unsigned i = 0; i < ref->parts; i++)
		ref->part[i].ram = !ref->device &&
				   guestmem_is_ram(e->gm, ipa(ref->part[i].gpa), ref->part[i].size);
	return true;
}

/* The offset of the instruction's memory operand, cut to the address size. */
static uint64_t effective_offset(const struct emu *e)
{
	const struct insn_mem *m = &e->in.mem;
	uint64_t offset = (uint64_t)m->disp;

	if (m->rip_relative)
		offset += e->cpu->rip + e->in.length;
	if (m->base != INSN_NO_REG)
		offset += e->gpr[m->base];
	if (m->index != INSN_NO_REG)
		offset += e->gpr[m->index] * m->scale;
	return offset & emu_mask(e->in.addr_size);
}

/* Bit tests with a register operand reach beyond the addressed word: SDM volume 2, BT. */
static uint64_t bit_string_offset(const struct emu *e)
{
	unsigned size = e->in.opsize;
	int64_t bit = (int64_t)emu_sign_extend(get_opnd_reg(e, &e->in.src), size);
	int64_t word = bit >> (size == 2 ? 4 : size == 4 ? 5 : 6);

	return (effective_offset(e) + (uint64_t)word * size) & emu_mask(e->in.addr_size);
}

static bool resolve_mem(struct emu *e, unsigned size, bool write, struct ref *ref)
{
	const struct insn *in = &e->in;
	bool bit_string = in->op >= INSN_BT && in->op <= INSN_BTC && in->src.kind == OPND_REG;

	return resolve(e, in->mem.seg, bit_string ? bit_string_offset(e) : effective_offset(e),
		       size, write, ref);
}

/* ---- access ---- */

/* The largest natural access at gpa within n bytes: for the parts of an operand that crosses a
 * page. */
static unsigned natural_size(uint64_t gpa, unsigned n)
{
	unsigned size = 8;

	while (size > n || !is_aligned(gpa, size))
		size /= 2;
	return size;
}

static uint64_t mmio_read(struct emu *e, uint64_t gpa, unsigned n)
{
	uint64_t v = 0;

	e->device = true;
	if (is_pow2(n))
		return e->ops->mmio_read(e->ctx, gpa, n) & emu_mask(n);
	for (unsigned done = 0, size; done < n; done += size) {
		size = natural_size(gpa + done, n - done);
		v |= (e->ops->mmio_read(e->ctx, gpa + done, size) & emu_mask(size)) << (8 * done);
	}
	return v;
}

static void mmio_write(struct emu *e, uint64_t gpa, unsigned n, uint64_t v)
{
	e->device = true;
	if (is_pow2(n)) {
		e->ops->mmio_write(e->ctx, gpa, n, v & emu_mask(n));
		return;
	}
	for (unsigned done = 0, size; done < n; done += size) {
		size = natural_size(gpa + done, n - done);
		e->ops->mmio_write(e->ctx, gpa + done, size, (v >> (8 * done)) & emu_mask(size));
	}
}

static bool read_ref(struct emu *e, const struct ref *ref, uint64_t *v)
{
	unsigned done = 0;

	*v = 0;
	for (unsigned i = 0; i < ref->parts; i++) {
		uint64_t part = 0;

		if (!ref->part[i].ram)
			part = mmio_read(e, ref->part[i].gpa, ref->part[i].size);
		else if (guestmem_read(e->gm, ipa(ref->part[i].gpa), &part, ref->part[i].size) != 0)
			return unsupported(e, "guest memory cannot be read");
		*v |= part << (8 * done);
		done += ref->part[i].size;
	}
	return true;
}

static bool write_ref(struct emu *e, const struct ref *ref, uint64_t v)
{
	for (unsigned i = 0; i < ref->parts; i++) {
		unsigned n = ref->part[i].size;

		if (!ref->part[i].ram)
			mmio_write(e, ref->part[i].gpa, n, v);
		else if (guestmem_write(e->gm, ipa(ref->part[i].gpa), &v, n) != 0)
			return unsupported(e, "guest memory cannot be written");
		if (n < 8)
			v >>= 8 * n;
	}
	return true;
}

/*
 * The write of a read-modify-write. A locked one in RAM is a compare-and-exchange with what was
 * read; when another vCPU was faster nothing has happened yet, and the guest may try again. Devices
 * see a read and a write: they have no locked cycle.
 */
static bool write_ref_rmw(struct emu *e, const struct ref *ref, uint64_t old, uint64_t v)
{
	bool locked = e->in.lock || e->in.op == INSN_XCHG;

	if (!locked || !ref->part[0].ram || !ref->part[ref->parts - 1].ram)
		return write_ref(e, ref, v);
	if (ref->parts > 1 || !is_aligned(ref->part[0].gpa, ref->size))
		return unsupported(e, "locked access to unaligned memory");
	if (guestmem_cmpxchg(e->gm, ipa(ref->part[0].gpa), ref->size, &old, v) != 0)
		return stop(e, EMU_RETRY);
	return true;
}

/* ---- instructions with one memory operand at most ---- */

static bool writes_dst(enum insn_op op)
{
	return op != INSN_CMP && op != INSN_TEST && op != INSN_BT;
}

static bool reads_dst(enum insn_op op)
{
	return op != INSN_MOV && op != INSN_MOVZX && op != INSN_MOVSX && op != INSN_MOVBE;
}

static uint64_t get_src(const struct emu *e)
{
	const struct insn_opnd *src = &e->in.src;

	switch (src->kind) {
	case OPND_REG:
		return get_opnd_reg(e, src);
	case OPND_IMM:
		return (uint64_t)e->in.imm & emu_mask(src->size);
	case OPND_SREG:
		return e->cpu->seg[src->reg].selector;
	default:
		return 0;
	}
}

/* The destination's new value from its old one and the source. Changes flags and further registers.
 */
static uint64_t compute(struct emu *e, uint64_t a, uint64_t b)
{
	const struct insn *in = &e->in;
	uint64_t sum;

	switch (in->op) {
	case INSN_MOV:
	case INSN_MOVZX:
		return b;
	case INSN_MOVSX:
		return emu_sign_extend(b, in->src.size);
	case INSN_MOVBE:
		return emu_byte_swap(b, in->opsize);
	case INSN_XCHG:
		set_opnd_reg(e, &in->src, a);
		return b;
	case INSN_XADD:
		sum = emu_alu(INSN_ADD, a, b, in->opsize, &e->rflags);
		set_opnd_reg(e, &in->src, a);
		return sum;
	case INSN_CMPXCHG:
		emu_alu(INSN_CMP, get_reg(e, GPR_RAX, in->opsize), a, in->opsize, &e->rflags);
		if (e->rflags & RFLAGS_ZF)
			return b;
		set_reg(e, GPR_RAX, in->opsize, a);
		return a;
	default:
		return emu_alu(in->op, a, b, in->opsize, &e->rflags);
	}
}

static bool exec_simple(struct emu *e)
{
	const struct insn *in = &e->in;
	bool to_memory = in->dst.kind == OPND_MEM;
	uint64_t a = 0, b = get_src(e), v;
	struct ref ref;

	if (to_memory && !resolve_mem(e, in->dst.size, writes_dst(in->op), &ref))
		return false;
	if (in->src.kind == OPND_MEM &&
	    (!resolve_mem(e, in->src.size, false, &ref) || !read_ref(e, &ref, &b)))
		return false;
	if (reads_dst(in->op)) {
		if (!to_memory)
			a = get_opnd_reg(e, &in->dst);
		else if (!read_ref(e, &ref, &a))
			return false;
	}
	v = compute(e, a, b);
	/* An unequal cmpxchg writes its old value back to memory, but leaves a register alone. */
	if (!writes_dst(in->op) ||
	    (in->op == INSN_CMPXCHG && !to_memory && !(e->rflags & RFLAGS_ZF)))
		return true;
	if (!to_memory)
		set_opnd_reg(e, &in->dst, v);
	else if (reads_dst(in->op))
		return write_ref_rmw(e, &ref, a, v);
	else
		return write_ref(e, &ref, v);
	return true;
}

/* ---- stack ---- */

static unsigned stack_addr_size(const struct emu *e)
{
	if (e->mode == INSN_MODE_64)
		return 8;
	return e->cpu->seg[SEG_SS].attr & ATTR_DB ? 4 : 2;
}

static bool exec_push(struct emu *e)
{
	unsigned addr_size = stack_addr_size(e), size = e->in.opsize;
	uint64_t sp = (e->gpr[GPR_RSP] - size) & emu_mask(addr_size);
	uint64_t v = get_src(e);
	struct ref source, slot;

	if (e->in.src.kind == OPND_MEM && !resolve_mem(e, size, false, &source))
		return false;
	if (!resolve(e, SEG_SS, sp, size, true, &slot))
		return false;
	if (e->in.src.kind == OPND_MEM && !read_ref(e, &source, &v))
		return false;
	set_reg(e, GPR_RSP, addr_size, sp);
	return write_ref(e, &slot, v);
}

static bool exec_pop(struct emu *e)
{
	unsigned addr_size = stack_addr_size(e), size = e->in.opsize;
	uint64_t sp = e->gpr[GPR_RSP] & emu_mask(addr_size), v;
	struct ref slot, dest;

	if (!resolve(e, SEG_SS, sp, size, false, &slot))
		return false;
	/* An address with rSP as base uses its value after the pop: SDM volume 2, POP. */
	set_reg(e, GPR_RSP, addr_size, sp + size);
	if (e->in.dst.kind == OPND_MEM && !resolve_mem(e, size, true, &dest))
		return false;
	if (!read_ref(e, &slot, &v))
		return false;
	if (e->in.dst.kind == OPND_MEM)
		return write_ref(e, &dest, v);
	set_opnd_reg(e, &e->in.dst, v);
	return true;
}

/* ---- the machine status word, the low half of CR0 ---- */

static bool exec_smsw(struct emu *e)
{
	const struct insn_opnd *dst = &e->in.dst;
	uint64_t cr0 = e->cpu->paging.cr0;
	struct ref ref;

	if (dst->kind == OPND_MEM)
		return resolve_mem(e, dst->size, true, &ref) && write_ref(e, &ref, cr0);
	set_opnd_reg(e, dst, cr0);
	return true;
}

static bool exec_lmsw(struct emu *e)
{
	uint64_t v = get_src(e);
	struct ref ref;

	if (e->cpu->cpl != 0)
		return raise(e, VEC_GP, true, 0);
	if (e->in.src.kind == OPND_MEM &&
	    (!resolve_mem(e, 2, false, &ref) || !read_ref(e, &ref, &v)))
		return false;
	e->cpu->msw = (uint16_t)v;
	e->cpu->msw_loaded = true;
	return true;
}

/* ---- strings ---- */

/* A string operand's address register, for resolve(). */
static bool resolve_string(struct emu *e, const struct insn_opnd *o, bool write, struct ref *ref)
{
	unsigned addr_size = e->in.addr_size;

	if (o->kind == OPND_SI)
		return resolve(e, e->in.mem.seg, get_reg(e, GPR_RSI, addr_size), o->size, write,
			       ref);
	return resolve(e, SEG_ES, get_reg(e, GPR_RDI, addr_size), o->size, write, ref);
}

static bool is_string_memory(const struct insn_opnd *o)
{
	return o->kind == OPND_SI || o->kind == OPND_DI;
}

static bool read_string_opnd(struct emu *e, const struct insn_opnd *o, const struct ref *ref,
			     uint64_t *v)
{
	if (is_string_memory(o))
		return read_ref(e, ref, v);
	if (o->kind == OPND_REG) {
		*v = get_opnd_reg(e, o);
		return true;
	}
	e->device = true;
	*v = e->ops->pio_read(e->ctx, (uint16_t)e->gpr[GPR_RDX], e->in.opsize);
	return true;
}

static bool write_string_opnd(struct emu *e, const struct insn_opnd *o, const struct ref *ref,
			      uint64_t v)
{
	if (is_string_memory(o))
		return write_ref(e, ref, v);
	if (o->kind == OPND_REG) {
		set_opnd_reg(e, o, v);
		return true;
	}
	e->device = true;
	e->ops->pio_write(e->ctx, (uint16_t)e->gpr[GPR_RDX], e->in.opsize,
			  (uint32_t)(v & emu_mask(e->in.opsize)));
	return true;
}

static void advance(struct emu *e, unsigned reg)
{
	uint64_t step = e->in.opsize;

	if (e->rflags & RFLAGS_DF)
		step = 0 - step;
	set_reg(e, reg, e->in.addr_size, e->gpr[reg] + step);
}

/* One element: every operand is resolved before the first is accessed. */
static bool exec_element(struct emu *e)
{
	const struct insn *in = &e->in;
	bool compares = in->op == INSN_CMPS || in->op == INSN_SCAS;
	struct ref dst, src;
	uint64_t a = 0, b = 0;

	if (is_string_memory(&in->src) && !resolve_string(e, &in->src, false, &src))
		return false;
	if (is_string_memory(&in->dst) && !resolve_string(e, &in->dst, !compares, &dst))
		return false;
	if (compares && !read_string_opnd(e, &in->dst, &dst, &a))
		return false;
	if (!read_string_opnd(e, &in->src, &src, &b))
		return false;
	if (compares)
		emu_alu(INSN_CMP, a, b, in->opsize, &e->rflags);
	else if (!write_string_opnd(e, &in->dst, &dst, b))
		return false;
	if (in->src.kind == OPND_SI || in->dst.kind == OPND_SI)
		advance(e, GPR_RSI);
	if (in->src.kind == OPND_DI || in->dst.kind == OPND_DI)
		advance(e, GPR_RDI);
	return true;
}

static void commit(struct emu *e)
{
	memcpy(e->cpu->gpr, e->gpr, sizeof(e->gpr));
	e->cpu->rflags = e->rflags;
}

/* After an element: is the whole instruction done? */
static bool rep_is_over(const struct emu *e)
{
	bool equal = e->rflags & RFLAGS_ZF;

	if (get_reg(e, GPR_RCX, e->in.addr_size) == 0)
		return true;
	if (e->in.op != INSN_CMPS && e->in.op != INSN_SCAS)
		return false;
	return e->in.rep == REP_F3 ? !equal : equal;
}

/*
 * Repeats until done, until something stops it, or until it is better to let the guest go on by
 * itself: after EMU_REP_MAX elements, after one with RFLAGS.TF set, or when an element touched no
 * device. What has been done is committed element by element, as a fault in a later one must find
 * it.
 */
static bool exec_rep(struct emu *e, bool *over)
{
	*over = get_reg(e, GPR_RCX, e->in.addr_size) == 0;
	for (unsigned i = 0; !*over && i < EMU_REP_MAX; i++) {
		e->device = false;
		if (!exec_element(e)) {
			/* The earlier elements have happened: only they count. */
			if (i > 0 && e->result == EMU_RETRY) {
				memcpy(e->gpr, e->cpu->gpr, sizeof(e->gpr));
				e->rflags = e->cpu->rflags;
				e->result = EMU_DONE;
				return true;
			}
			return false;
		}
		set_reg(e, GPR_RCX, e->in.addr_size, e->gpr[GPR_RCX] - 1);
		*over = rep_is_over(e);
		commit(e);
		if (!e->device || (e->rflags & RFLAGS_TF))
			break;
	}
	return true;
}

static bool exec_string(struct emu *e, bool *over)
{
	bool port = e->in.op == INSN_INS || e->in.op == INSN_OUTS;

	if (port && e->cpu->io_size == 0)
		return unsupported(e, "port instruction without a port exit");
	if (e->in.rep != REP_NONE)
		return exec_rep(e, over);
	return exec_element(e);
}

/* ---- fetch ---- */

static int read_code(const struct emu *e, uint64_t gpa, uint8_t *bytes, uint64_t n)
{
	struct gcache *windows = e->cpu->paging.windows;

	return windows ? gcache_read(&windows[0], e->gm, ipa(gpa), bytes, n)
		       : guestmem_read(e->gm, ipa(gpa), bytes, n);
}

/* Fetches what one page holds of the instruction's next bytes, at bytes[*n]. */
static bool fetch_more(struct emu *e, uint8_t bytes[INSN_MAX_LENGTH], unsigned *n)
{
	const struct emu_seg *cs = &e->cpu->seg[SEG_CS];
	uint64_t offset = e->cpu->rip + *n, linear = offset, gpa, room;

	if (e->mode == INSN_MODE_64) {
		if (!is_canonical(e->cpu, linear))
			return raise(e, VEC_GP, true, 0);
		room = INSN_MAX_LENGTH;
	} else {
		offset = (uint32_t)offset;
		if (offset > cs->limit)
			return raise(e, VEC_GP, true, 0);
		room = (uint64_t)cs->limit - offset + 1;
		linear = (uint32_t)(cs->base + offset);
	}
	room = min_u64(room, PAGE_SIZE - (linear & PAGE_MASK));
	room = min_u64(room, INSN_MAX_LENGTH - *n);
	if (!translate(e, linear, WALK_EXEC, &gpa))
		return false;
	if (read_code(e, gpa, bytes + *n, room) != 0)
		return unsupported(e, "the instruction is not in the guest's RAM");
	*n += (unsigned)room;
	return true;
}

unsigned emu_fetch(struct emu_cpu *cpu, struct guestmem *gm, uint8_t buf[INSN_MAX_LENGTH])
{
	struct emu_fault fault;
	struct emu e; /* what fetching looks at: every exit of a CPU without next RIP comes here */
	unsigned n = 0;

	e.cpu = cpu;
	e.gm = gm;
	e.fault = &fault;
	e.mode = emu_mode(cpu);
	while (n < INSN_MAX_LENGTH && fetch_more(&e, buf, &n))
		;
	return n;
}

static bool fetch_and_decode(struct emu *e)
{
	struct emu_cpu *cpu = e->cpu;
	uint8_t *bytes = e->fault->bytes;
	unsigned n = cpu->nr_fetched <= INSN_MAX_LENGTH ? cpu->nr_fetched : 0;
	enum decode_result r;

	memcpy(bytes, cpu->fetched, INSN_MAX_LENGTH);
	for (;;) {
		r = n == 0 ? DECODE_TRUNCATED : insn_decode(bytes, n, e->mode, &e->in);
		if (r != DECODE_TRUNCATED)
			break;
		if (!fetch_more(e, bytes, &n))
			break;
		e->fault->nr_bytes = (uint8_t)n;
	}
	e->fault->nr_bytes = (uint8_t)n;
	if (e->result != EMU_DONE)
		return false;
	if (r == DECODE_INVALID)
		return raise(e, VEC_UD, false, 0);
	if (r == DECODE_TOO_LONG)
		return raise(e, VEC_GP, true, 0);
	return r == DECODE_OK || unsupported(e, "instruction not supported");
}

/* ---- the whole ---- */

/* *over is cleared when a rep string instruction is not finished. */
static bool execute(struct emu *e, bool *over)
{
	*over = true;
	if (e->cpu->io_size != 0) {
		bool port = e->in.op == INSN_INS || e->in.op == INSN_OUTS;

		/* Another vCPU has overwritten it since the exit. */
		if (!port || e->in.opsize != e->cpu->io_size)
			return stop(e, EMU_RETRY);
	}
	if (e->in.op >= INSN_MOVS && e->in.op <= INSN_OUTS)
		return exec_string(e, over);
	if (e->in.op == INSN_PUSH)
		return exec_push(e);
	if (e->in.op == INSN_POP)
		return exec_pop(e);
	if (e->in.op >= INSN_ADD && e->in.op <= INSN_CMPXCHG)
		return exec_simple(e);
	if (e->in.op == INSN_SMSW)
		return exec_smsw(e);
	if (e->in.op == INSN_LMSW)
		return exec_lmsw(e);
	return unsupported(e, "instruction does not access memory");
}

static void finish(struct emu *e, bool over)
{
	struct emu_cpu *cpu = e->cpu;

	cpu->step_trap = e->rflags & RFLAGS_TF;
	/* RF: an unfinished string instruction must not hit its own breakpoint again. */
	e->rflags = over ? e->rflags & ~RFLAGS_RF : e->rflags | RFLAGS_RF;
	commit(e);
	if (!over)
		return;
	cpu->rip += e->in.length;
	if (e->mode != INSN_MODE_64)
		cpu->rip = (uint32_t)cpu->rip;
}

enum emu_result emulate(struct emu_cpu *cpu, struct guestmem *gm, const struct emu_ops *ops,
			void *ctx, struct emu_fault *fault)
{
	struct emu e = {
		.cpu = cpu,
		.gm = gm,
		.ops = ops,
		.ctx = ctx,
		.fault = fault,
		.mode = emu_mode(cpu),
		.rflags = cpu->rflags,
		.result = EMU_DONE,
	};
	bool over;

	memset(fault, 0, sizeof(*fault));
	memcpy(e.gpr, cpu->gpr, sizeof(e.gpr));
	cpu->step_trap = false;
	cpu->msw_loaded = false;
	if (fetch_and_decode(&e) && execute(&e, &over))
		finish(&e, over);
	else if (e.result == EMU_FAULT)
		cpu->rflags |= RFLAGS_RF;
	return e.result;
}
