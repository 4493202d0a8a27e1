/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lives of guests.
 *
 *	vm_start:  board_create, power_on                        -> running
 *	an end:    vm_stop, vCPUs leave, power_off, board_destroy -> stopped or crashed
 *	a reset:   vm_stop, vCPUs leave, power_off, power_on
 *
 * power_on and power_off make and unmake what a power cycle forgets: memory and vCPU state.
 */
#include "vm/vm.h"

#include <stdarg.h>

#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/vcpu.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/kalloc.h"
#include "vm/board.h"
#include "vm/console.h"
#include "vm/init.h"
#include "vm/pcpu.h"
#include "vm/sched.h"
#include "vm/vcpu.h"

/* The boot CPU's, as all that starts, ends and forgets guests. */
static struct vm *first;
static const char *unavailable;
static void (*on_last_end)(void);

#define END_WAIT_NS 20000000ull

/* Level of lines that no `loglevel=` may hide: a guest's end among them. */
#define NOTICE LOG_ERR

/* --- names ------------------------------------------------------------------------------------ */

const char *vm_state_name(enum vm_state state)
{
	static const char *const names[] = {
		[VM_DEFINED] = "defined", [VM_RUNNING] = "running", [VM_PAUSED] = "paused",
		[VM_STOPPED] = "stopped", [VM_CRASHED] = "crashed",
	};

	return names[state];
}

const char *vm_end_describe(const struct vm_end *end, char *buf, size_t size)
{
	switch (end->cause) {
	case VM_CAUSE_NONE:
		snprintf(buf, size, "-");
		break;
	case VM_CAUSE_POWEROFF:
		snprintf(buf, size, "powered off");
		break;
	case VM_CAUSE_DESTROYED:
		snprintf(buf, size, "destroyed");
		break;
	case VM_CAUSE_EXITED:
		snprintf(buf, size, "exited, status %d", end->status);
		break;
	case VM_CAUSE_KILLED:
		snprintf(buf, size, "killed: %s", end->text);
		break;
	case VM_CAUSE_RESET:
		snprintf(buf, size, "reset");
		break;
	}
	return buf;
}

/* --- the table -------------------------------------------------------------------------------- */

void vm_set_unavailable(const char *why)
{
	unavailable = why;
}

void vm_on_last_end(void (*fn)(void))
{
	on_last_end = fn;
}

struct vm *vm_first(void)
{
	return first;
}

struct vm *vm_next(const struct vm *vm)
{
	return vm->next;
}

struct vm *vm_find(const char *name)
{
	for (struct vm *vm = first; vm; vm = vm->next)
		if (strcmp(vm->conf.name, name) == 0)
			return vm;
	return NULL;
}

static void free_vm(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vcpu_free(vm->vcpus[i]);
	if (vm->console)
		console_guest_free(vm->console);
	kfree(vm);
}

static int allocate(const struct guest_conf *conf, struct vm **out)
{
	struct vm *vm = kzalloc(sizeof(*vm));

	if (!vm)
		return -ENOMEM;
	vm->conf = *conf;
	vm->end_lock = (struct spinlock)SPINLOCK_INIT;
	vclock_reset(&vm->clock);
	vm->console = console_guest_create();
	for (unsigned i = 0; i < conf->vcpus && vm->console; i++) {
		vm->vcpus[i] = vcpu_new(vm, i);
		if (!vm->vcpus[i])
			break;
		vm->nr_vcpus++;
	}
	if (vm->nr_vcpus < conf->vcpus) {
		free_vm(vm);
		return -ENOMEM;
	}
	*out = vm;
	return 0;
}

int vm_define(const struct guest_conf *conf, struct vm **out)
{
	struct vm **end = &first;
	int ret;

	if (conf->vcpus == 0 || conf->vcpus > MAX_VCPUS)
		return -EINVAL;
	if (vm_find(conf->name))
		return -EEXIST;
	ret = allocate(conf, out);
	if (ret)
		return ret;
	while (*end)
		end = &(*end)->next;
	*end = *out;
	return 0;
}

static bool is_alive(const struct vm *vm)
{
	return vm->state == VM_RUNNING || vm->state == VM_PAUSED;
}

int vm_undefine(struct vm *vm)
{
	struct vm **at = &first;

	if (is_alive(vm))
		return -EBUSY;
	if (console_attached() == vm)
		console_detach(false);
	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
	free_vm(vm);
	return 0;
}

/* --- modules ---------------------------------------------------------------------------------- */

const char *vm_missing_module(const struct guest_conf *conf)
{
	if (!vm_module_find(conf->kernel))
		return conf->kernel;
	if (conf->initrd[0] && !vm_module_find(conf->initrd))
		return conf->initrd;
	for (unsigned i = 0; i < conf->nr_modules; i++)
		if (!vm_module_find(conf->modules[i].name))
			return conf->modules[i].name;
	return NULL;
}

const char *vm_describe_missing(const char *module, char *buf, size_t size)
{
	snprintf(buf, size,
		 "module '%s' was not loaded (GRUB says \"out of memory\" when it does not fit)",
		 module);
	return buf;
}

/* --- power ------------------------------------------------------------------------------------ */

/* The vCPUs are off the scheduler. Also undoes a power_on that came half the way. */
static void power_off(struct vm *vm)
{
	vclock_stop(&vm->clock);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpus[i]->arch)
			arch_vcpu_destroy(vm->vcpus[i]);
	guestmem_destroy(&vm->mem);
}

/* `prealloc = yes`: every frame now. They are promised already, so only a broken table can fail. */
static int populate(struct guestmem *gm, char *err, size_t err_size)
{
	for (uint32_t i = 0; i < atomic_load32(&gm->nr_slots); i++) {
		uint64_t at = gm->slots[i].base.v, end = at + gm->slots[i].size;

		while (at < end) {
			uint64_t before = guestmem_populated_pages(gm), grown;
			enum gm_fault got = guestmem_fault(gm, ipa(at), GM_READ | GM_WRITE);

			if (got == GM_RETRY)
				continue;
			if (got != GM_RESOLVED) {
				snprintf(err, err_size, "memory at 0x%llx cannot be populated",
					 (unsigned long long)at);
				return -ENOMEM;
			}
			/* A larger leaf begins here when it is new: we came up to it by pages. */
			grown = guestmem_populated_pages(gm) - before;
			at += max_u64(grown, 1) * PAGE_SIZE;
		}
	}
	return 0;
}

static int create_vcpus(struct vm *vm, char *err, size_t err_size)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		int ret = arch_vcpu_create(vm->vcpus[i]);

		if (ret) {
			snprintf(err, err_size, "not enough memory for vCPU %u", i);
			return ret;
		}
	}
	return 0;
}

/* Memory, vCPUs, images; then the clock runs and the vCPUs are in the scheduler's hands. On failure
 * nothing of it is left. */
static int power_on(struct vm *vm, char *err, size_t err_size)
{
	int ret = guestmem_init(&vm->mem, err, err_size);

	if (ret)
		return ret;
	vclock_reset(&vm->clock);
	ret = create_vcpus(vm, err, err_size);
	if (ret == 0)
		ret = board_boot(vm, err, err_size);
	if (ret == 0 && vm->conf.prealloc)
		ret = populate(&vm->mem, err, err_size);
	if (ret) {
		board_pause(vm); /* timers that a device armed before the failure */
		power_off(vm);
		return ret;
	}
	vm->end = (struct vm_end){.cause = VM_CAUSE_NONE};
	atomic_store32_rel(&vm->stopping, 0);
	vm->state = VM_RUNNING;
	vm->started_ns = machine_now();
	vclock_start(&vm->clock);
	board_resume(vm);
	/* Those that wait to be started by the first find nothing to do and halt at once. */
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		sched_add(vm->vcpus[i]);
	return 0;
}

static int check_start(const struct vm *vm, char *err, size_t err_size)
{
	const char *missing;

	if (is_alive(vm)) {
		snprintf(err, err_size, "it is %s", vm_state_name(vm->state));
		return -EBUSY;
	}
	if (unavailable) {
		snprintf(err, err_size, "%s", unavailable);
		return -ENODEV;
	}
	if (!sched_can_place(vm->conf.cpus)) {
		snprintf(err, err_size,
			 "cpu = names none of the CPUs that run (the command `cpus` lists them)");
		return -EOPNOTSUPP;
	}
	missing = vm_missing_module(&vm->conf);
	if (missing) {
		vm_describe_missing(missing, err, err_size);
		return -ENOENT;
	}
	return 0;
}

int vm_start(struct vm *vm, char *err, size_t err_size)
{
	int ret;

	if (err_size > 0)
		err[0] = '\0';
	ret = check_start(vm, err, err_size);
	if (ret)
		return ret;
	ret = board_create(vm, err, err_size);
	if (ret)
		return ret;
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		memset(vm->vcpus[i]->exits, 0, sizeof(vm->vcpus[i]->exits));
		vm->vcpus[i]->run_ns = 0;
	}
	ret = power_on(vm, err, err_size);
	if (ret) {
		board_destroy(vm);
		return ret;
	}
	vm->starts++;
	vm->report[0] = '\0';
	return 0;
}

/* --- ends ------------------------------------------------------------------------------------- */

/* The first cause wins; but a guest that resets itself for ever can still be ended. */
static bool claim_end(struct vm *vm, const struct vm_end *end)
{
	bool claimed;

	spin_lock(&vm->end_lock);
	claimed =
		is_alive(vm) && (vm->end.cause == VM_CAUSE_NONE ||
				 (vm->end.cause == VM_CAUSE_RESET && end->cause != VM_CAUSE_RESET));
	if (claimed) {
		vm->end = *end;
		atomic_store32_rel(&vm->stopping, 1);
	}
	spin_unlock(&vm->end_lock);
	return claimed;
}

void vm_stop(struct vm *vm, enum vm_cause cause, int status, const char *fmt, ...)
{
	struct vm_end end = {.cause = cause, .status = status};
	struct vcpu *current = this_pcpu()->current;
	va_list ap;

	if (current && current->vm == vm)
		end.vcpu = current;
	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(end.text, sizeof(end.text), fmt, ap);
		va_end(ap);
	}
	if (!claim_end(vm, &end))
		return;
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vcpu_kick(vm->vcpus[i]);
	pcpu_raise_on(PCPU_BOOT, PCPU_WORK_VM);
}

/* Registers for `info`, and into the log's ring. They are too many for the console. */
static void keep_report(struct vm *vm, const struct vcpu *v)
{
	size_t n = arch_vcpu_report(v, vm->report, sizeof(vm->report) - 1);

	vm->report[n < sizeof(vm->report) ? n : sizeof(vm->report) - 1] = '\0';
	log_debug("guest %s: vCPU %u when it was killed:", vm->conf.name, v->id);
	for (const char *line = vm->report; *line;) {
		const char *nl = strchr(line, '\n');
		int len = (int)(nl ? (size_t)(nl - line) : strlen(line));

		log_debug("  %.*s", len, line);
		line += nl ? len + 1 : len;
	}
}

static bool any_alive(void)
{
	for (const struct vm *vm = first; vm; vm = vm->next)
		if (is_alive(vm))
			return true;
	return false;
}

/* The guest is off; this is what is said and remembered of it. */
static void ended(struct vm *vm, const struct vm_end *end)
{
	bool in_front = console_attached() == vm;
	char text[VM_END_TEXT + 32];

	vm->last = *end;
	vm->state = end->cause == VM_CAUSE_KILLED ? VM_CRASHED : VM_STOPPED;
	console_guest_ended(vm);
	log_msg(NOTICE, "guest %s: %s", vm->conf.name, vm_end_describe(end, text, sizeof(text)));
	if (in_front)
		console_detach(false);
	if (!any_alive() && on_last_end)
		on_last_end();
}

/* No vCPU of it runs any more. */
static void complete_end(struct vm *vm)
{
	struct vm_end end;
	char err[VM_END_TEXT - 16];

	sched_step_aside();
	spin_lock(&vm->end_lock);
	end = vm->end;
	spin_unlock(&vm->end_lock);
	vclock_stop(&vm->clock); /* first: a device's function that still runs arms no timer then */
	board_pause(vm);
	if (end.cause == VM_CAUSE_KILLED)
		keep_report(vm, end.vcpu ? end.vcpu : vm->vcpus[0]);
	power_off(vm);
	if (end.cause == VM_CAUSE_RESET) {
		err[0] = '\0';
		if (power_on(vm, err, sizeof(err)) == 0) {
			vm->resets++;
			log_info("guest %s: reset", vm->conf.name);
			return;
		}
		end.cause = VM_CAUSE_KILLED;
		snprintf(end.text, sizeof(end.text), "reset failed: %s", err);
	}
	board_destroy(vm);
	ended(vm, &end);
}

/* Takes all vCPUs off the scheduler; false as long as one is in its guest. */
static bool all_out(struct vm *vm)
{
	bool out = true;

	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		out &= sched_remove(vm->vcpus[i]);
	return out;
}

void vm_work(void)
{
	for (struct vm *vm = first; vm; vm = vm->next)
		if (is_alive(vm) && vm_stopping(vm) && all_out(vm))
			complete_end(vm);
}

/* Who types `destroy` wants it done when the prompt comes back. A vCPU on another pCPU leaves its
 * guest within microseconds of the kick; one that takes longer ends the guest later, by
 * PCPU_WORK_VM. */
static void end_now(struct vm *vm)
{
	uint64_t since = machine_now();

	vm_work();
	while (is_alive(vm) && vm_stopping(vm) && machine_now() - since < END_WAIT_NS) {
		hw_relax();
		vm_work();
	}
}

int vm_destroy(struct vm *vm)
{
	if (!is_alive(vm))
		return -EINVAL;
	vm_stop(vm, VM_CAUSE_DESTROYED, 0, NULL);
	end_now(vm);
	return 0;
}

int vm_reset(struct vm *vm)
{
	if (!is_alive(vm))
		return -EINVAL;
	vm_stop(vm, VM_CAUSE_RESET, 0, NULL);
	end_now(vm);
	return 0;
}
