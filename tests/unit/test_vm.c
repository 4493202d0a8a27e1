/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vm/vm.c, vm/sched.c, vm/init.c: lives of guests with fake hardware below: what is created is
 * released, the first cause wins, halted vCPUs sleep and wake, slices are fair, boot says what is
 * wrong.
 */
// links: vm/console.c vm/monitor.c vm/lineedit.c vm/cmdline.c vm/vm.c vm/vcpu.c vm/sched.c
// links: vm/timer.c vm/clock.c lib/log.c lib/string.c lib/format.c tests/unit/fake_vm.c
// links: vm/init.c vm/conf.c tests/unit/fake_pcpu.c
#include <stdlib.h>

#include "arch/machine.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "tests/tap.h"
#include "tests/unit/fake_vm.h"
#include "vm/console.h"
#include "vm/init.h"
#include "vm/pcpu.h"
#include "vm/sched.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

static struct vm_module modules[] = {
	{.name = "kernel", .data = "k", .size = 1},
	{.name = "guests.conf"},
};

static char err[256];

/* vm_main never returns: it is left from the first idle with nothing to wait for, or by power. */
static jmp_buf out_of_main;

static enum vcpu_run halt(struct vcpu *v)
{
	(void)v;
	return VCPU_RUN_HALTED;
}

/* As arch_vcpu_run does it: until there is work, or the VM ends. */
static enum vcpu_run spin(struct vcpu *v)
{
	for (unsigned i = 0; i < 1000; i++) {
		if (vm_stopping(v->vm))
			return VCPU_RUN_STOPPED;
		fake_now += 100000;
		machine_take_interrupts();
		if (pcpu_work_pending())
			return VCPU_RUN_WORK;
	}
	return VCPU_RUN_WORK;
}

static struct vm *define(const char *name)
{
	static struct guest_conf conf;
	struct vm *vm = NULL;

	conf = (struct guest_conf){.memory = 8 << 20, .vcpus = 1, .kernel = "kernel"};
	snprintf(conf.name, sizeof(conf.name), "%s", name);
	vm_define(&conf, &vm);
	return vm;
}

/* vm_main is what tells vm/ of the modules: boots with a kernel and no guests, up to the first
 * idle. */
static void lend_modules(void)
{
	struct vm_boot boot = {.cmdline = "", .modules = modules, .nr_modules = 1};

	fake_forget_pcpu();
	fake_idle_leaves(&out_of_main);
	if (setjmp(out_of_main) == 0)
		vm_main(&boot);
	fake_idle_leaves(NULL);
}

static bool all_released(void)
{
	return fake_live_vcpus == 0 && fake_live_mem == 0 && fake_live_boards == 0;
}

static void test_table(void)
{
	struct vm *a, *b, *again = NULL;
	static struct guest_conf conf;

	fake_start();
	a = define("a");
	b = define("b");
	ok(a && b && vm_find("a") == a && vm_find("b") == b && !vm_find("c"), "found by name");
	ok(vm_first() == a && vm_next(a) == b && !vm_next(b), "in the order of definition");
	conf = a->conf;
	is_u64((uint64_t)-vm_define(&conf, &again), EEXIST, "a name is taken once");
	is_u64((uint64_t)-vm_destroy(a), EINVAL, "what does not run cannot be destroyed");
	is_u64((uint64_t)-vm_reset(a), EINVAL, "or reset");
	is_u64((uint64_t)-vm_undefine(a), 0, "undefine");
	ok(!vm_find("a") && vm_first() == b, "forgotten");
	a = define("a");
	ok(vm_next(b) == a, "defined again it comes last");
}

static void test_cycle(void)
{
	struct vm *a;

	fake_start();
	fake_run = spin;
	a = define("a");
	is_str(vm_state_name(a->state), "defined", "before its first start");
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), 0, "starts");
	is_str(fake_calls, "board+ mem+ vcpu+ boot resume ", "in this order");
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), EBUSY, "not twice");
	is_str(err, "it is running", "and says so");
	is_u64((uint64_t)-vm_undefine(a), EBUSY, "nor forgotten while it runs");
	fake_steps(3);
	ok(a->vcpus[0]->run_ns > 0, "it runs");
	fake_out_reset();
	fake_calls[0] = '\0';
	vm_stop(a, VM_CAUSE_KILLED, 0, "triple fault at rip 0x%x", 0xfff0);
	vm_stop(a, VM_CAUSE_POWEROFF, 0, NULL);
	ok(a->state == VM_RUNNING && vm_stopping(a), "an end waits for the main loop");
	fake_steps(1);
	is_str(fake_calls, "pause vcpu- mem- board- ", "then everything goes");
	ok(a->state == VM_CRASHED && all_released(), "crashed, memory released");
	ok(strstr(fake_out, "guest a: killed: triple fault at rip 0xfff0\r\n") != NULL,
	   "the first cause wins, and is told");
	ok(strstr(a->report, "rip 0x1234 of vCPU 0") != NULL, "its registers are kept");
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), 0, "it can be started again");
	ok(a->report[0] == '\0' && a->starts == 2, "afresh");
	vm_stop(a, VM_CAUSE_EXITED, 7, NULL);
	fake_steps(1);
	ok(a->state == VM_STOPPED && a->last.cause == VM_CAUSE_EXITED && a->last.status == 7,
	   "stopped, with its status");
	for (int i = 0; i < 1000; i++) {
		if (vm_start(a, err, sizeof(err)))
			break;
		fake_steps(1);
		vm_destroy(a);
	}
	ok(a->starts == 1002 && all_released(), "1000 times more, nothing is left behind");
}

static enum vcpu_run dies(struct vcpu *v)
{
	vm_stop(v->vm, VM_CAUSE_EXITED, 1, NULL);
	return VCPU_RUN_STOPPED;
}

static void test_end_from_exit(void)
{
	struct vm *a;

	fake_start();
	a = define("a");
	fake_run = dies;
	vm_start(a, err, sizeof(err));
	fake_steps(1);
	ok(a->state == VM_RUNNING, "an exit only asks for the end");
	fake_steps(1);
	ok(a->state == VM_STOPPED && all_released(), "the next round completes it");
	fake_run = halt;
	vm_start(a, err, sizeof(err));
	fake_steps(2);
	is_u64(a->vcpus[0]->state, VCPU_HALTED, "a halted guest");
	vm_destroy(a);
	ok(a->state == VM_STOPPED && a->last.cause == VM_CAUSE_DESTROYED && all_released(),
	   "is destroyed at once");
}

static void test_reset(void)
{
	struct vm *a;

	fake_start();
	fake_run = spin;
	a = define("a");
	vm_start(a, err, sizeof(err));
	fake_steps(3);
	fake_calls[0] = '\0';
	vm_stop(a, VM_CAUSE_RESET, 0, NULL);
	fake_steps(1);
	is_str(fake_calls, "pause vcpu- mem- mem+ vcpu+ boot resume ",
	       "a reset is a power cycle with the board kept");
	ok(a->state == VM_RUNNING && a->resets == 1 && !vm_stopping(a), "it runs on");
	ok(vclock_now(&a->clock) < 100000000, "its clock begins at 0");
	vm_stop(a, VM_CAUSE_RESET, 0, NULL);
	vm_stop(a, VM_CAUSE_DESTROYED, 0, NULL);
	fake_steps(1);
	ok(a->state == VM_STOPPED, "destroy wins over a reset under way");
	vm_start(a, err, sizeof(err));
	fake_board_error = "kernel: not a kernel";
	fake_out_reset();
	vm_reset(a);
	ok(a->state == VM_CRASHED && all_released(), "a reset that fails ends the guest");
	ok(strstr(fake_out, "guest a: killed: reset failed: kernel: not a kernel\r\n") != NULL,
	   "and says why");
}

static void test_failures(void)
{
	struct vm *a;

	fake_start();
	a = define("a");
	fake_board_error = "not enough memory";
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), ENOEXEC, "images do not load");
	is_str(err, "not enough memory", "the loader's words");
	ok(a->state == VM_DEFINED && all_released(), "nothing has happened");
	fake_board_error = NULL;
	fake_vcpu_create_error = -ENOMEM;
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), ENOMEM, "no memory for a vCPU");
	ok(a->state == VM_DEFINED && all_released(), "nothing has happened");
	fake_vcpu_create_error = 0;
	vm_set_unavailable("no SVM");
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), ENODEV, "a machine that cannot");
	is_str(err, "no SVM", "says why");
	vm_set_unavailable(NULL);
	snprintf(a->conf.initrd, sizeof(a->conf.initrd), "foo");
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), ENOENT, "a missing module");
	is_str(err,
	       "module 'foo' was not loaded (GRUB says \"out of memory\" when it does not fit)",
	       "is named");
	a = define("p");
	a->conf.cpus[0] = 2;
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), EOPNOTSUPP, "pinned to what is not up");
	a->conf.cpus[0] = 3;
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), 0, "pinned here as well: fine");
	a = define("pre");
	a->conf.prealloc = true;
	is_u64((uint64_t)-vm_start(a, err, sizeof(err)), 0, "prealloc");
	is_u64(guestmem_populated_pages(&a->mem), 2048, "populates every page, once");
}

static unsigned ends;

static void count_end(void)
{
	ends++;
}

static void test_last_end(void)
{
	struct vm *a, *b;

	fake_start();
	ends = 0;
	vm_on_last_end(count_end);
	fake_run = spin;
	a = define("a");
	b = define("b");
	vm_start(a, err, sizeof(err));
	vm_start(b, err, sizeof(err));
	vm_destroy(a);
	is_u64(ends, 0, "one still runs");
	vm_destroy(b);
	is_u64(ends, 1, "the last has ended");
	vm_on_last_end(NULL);
}

static void test_sleep(void)
{
	struct vm *a;
	unsigned idles;

	fake_start();
	fake_run = halt;
	a = define("a");
	vm_start(a, err, sizeof(err));
	fake_steps(3);
	ok(fake_idles > 0 && fake_now < SCHED_SLICE_NS, "its slice does not end the sleep");
	idles = fake_idles;
	fake_steps(5);
	is_u64(fake_idles - idles, 5, "a halted guest lets the machine sleep");
	is_u64(fake_timer, UINT64_MAX, "with no timer ticking");
	fake_run = spin;
	vcpu_kick(a->vcpus[0]);
	is_u64(a->vcpus[0]->state, VCPU_RUNNABLE, "a kick wakes it");
	vcpu_kick(a->vcpus[0]);
	fake_steps(1);
	ok(fake_idles - idles == 5 && a->vcpus[0]->state == VCPU_RUNNABLE, "it runs again");
	fake_run = halt;
	fake_event = true; /* arrived after the vCPU had looked */
	fake_steps(1);
	is_u64(a->vcpus[0]->state, VCPU_RUNNABLE, "an event just before the halt is not lost");
}

static struct vm *sleeper;

/* Everybody computes but `sleeper`, which halts after a moment. */
static enum vcpu_run mixed(struct vcpu *v)
{
	if (v->vm != sleeper)
		return spin(v);
	fake_now += 50000;
	return VCPU_RUN_HALTED;
}

static void test_fair(void)
{
	struct vm *g[3];
	uint64_t least = UINT64_MAX, most = 0, before;

	fake_start();
	fake_run = spin;
	sleeper = NULL;
	for (int i = 0; i < 3; i++) {
		g[i] = define((char[]){(char)('a' + i), '\0'});
		vm_start(g[i], err, sizeof(err));
	}
	fake_steps(300);
	for (int i = 0; i < 3; i++) {
		uint64_t ns = g[i]->vcpus[0]->run_ns;

		least = ns < least ? ns : least;
		most = ns > most ? ns : most;
	}
	ok(least > 500000000 && most - least <= 2 * SCHED_SLICE_NS,
	   "three that spin share the pCPU evenly (%u..%u ms)", (unsigned)(least / 1000000),
	   (unsigned)(most / 1000000));
	/* each go ends with its slice, a little late at most */
	ok(this_pcpu()->switches >= least * 3 / (SCHED_SLICE_NS + 2000000), "in slices of 10 ms");

	sleeper = g[0];
	fake_run = mixed;
	fake_steps(20);
	is_u64(g[0]->vcpus[0]->state, VCPU_HALTED, "one sleeps");
	vcpu_kick(g[0]->vcpus[0]);
	before = g[0]->vcpus[0]->run_ns;
	fake_steps(1);
	ok(g[0]->vcpus[0]->run_ns > before, "woken it goes before those that compute");
	before = g[1]->vcpus[0]->run_ns;
	for (int i = 0; i < 400; i++) {
		vcpu_kick(g[0]->vcpus[0]);
		fake_steps(1);
	}
	ok(g[1]->vcpus[0]->run_ns - before > 50000000,
	   "and cannot starve them by waking all the time");
	fake_type("list\r");
	fake_out_reset();
	fake_steps(1);
	ok(strstr(fake_out, "LAST END") != NULL, "nor can they the monitor");
}

/* --- vm_main ---------------------------------------------------------------------------------- */

/* Boots with a command line and a guests file (or none) to the first idle (returns 0), power-off
 * (1) or reboot (2). */
static int boots(const char *cmdline, const char *conf, enum vcpu_run (*run_fn)(struct vcpu *))
{
	struct vm_boot boot = {.cmdline = cmdline, .modules = modules, .nr_modules = conf ? 2 : 1};
	static int power; /* survives longjmp */

	if (conf) {
		modules[1].data = conf;
		modules[1].size = strlen(conf);
	}
	fake_run = run_fn;
	fake_forget_pcpu();
	fake_out_reset();
	fake_idle_leaves(&out_of_main);
	power = 0;
	switch (setjmp(fake_power)) {
	case 0:
		if (setjmp(out_of_main) == 0)
			vm_main(&boot);
		break;
	case 1:
		power = 1;
		break;
	default:
		power = 2;
		break;
	}
	fake_idle_leaves(NULL);
	return power;
}

static const char good[] = "[guest a]\nkernel = kernel\nmemory = 8M\nautostart = yes\n"
			   "[guest b]\nkernel = kernel\nmemory = 8M\n";

static void test_boot(void)
{
	fake_start();
	is_u64((uint64_t)boots("console=com1,115200", good, halt), 0, "boots");
	ok(strstr(fake_out, "command line") == NULL, "with nothing to say about console=");
	ok(vm_find("a") && vm_find("a")->state == VM_RUNNING, "autostart");
	ok(vm_find("b") && vm_find("b")->state == VM_DEFINED, "and none");
	ok(console_attached() == vm_find("a"), "attached to the first");
	ok(strstr(fake_out, "[attached to a: Ctrl-] returns to the monitor]\r\n") != NULL,
	   "says so");
	ok(strstr(fake_out, "sluice>") == NULL, "no prompt");
}

static void test_boot_bad(void)
{
	fake_start();
	boots("bogus after=x selftest", NULL, halt);
	ok(strstr(fake_out, "unknown word 'bogus'\r\n") && strstr(fake_out, "after=x: expected") &&
		   strstr(fake_out, "selftest is not in this version"),
	   "a wrong command line is reported word by word");
	ok(strstr(fake_out, "brought no module 'guests.conf'") != NULL, "no guests file: said");
	ok(strcmp(fake_out + fake_out_len - 9, "\rsluice> ") == 0, "and the monitor is there");

	fake_start();
	boots("",
	      "[guest x]\nkernel = kernel\nmemory = lots\n[guest m]\nkernel = gone\n"
	      "[guest y]\nkernel = kernel\nautostart = yes\n",
	      halt);
	ok(strstr(fake_out, "guests.conf:3: ") != NULL, "a mistake with its line");
	ok(strstr(fake_out, "guest m: module 'gone' was not loaded") != NULL, "a missing module");
	ok(!vm_find("x") && vm_find("m") && vm_find("y")->state == VM_RUNNING,
	   "the good guests live");

	fake_start();
	fake_virt_error = "no SVM here";
	boots("after=poweroff", good, halt);
	ok(strstr(fake_out, "this machine cannot run guests: no SVM here\r\n") &&
		   strstr(fake_out, "guest a: cannot start: no SVM here\r\n"),
	   "a machine without virtualisation");
	ok(strcmp(fake_out + fake_out_len - 9, "\rsluice> ") == 0,
	   "no guest has run: after=poweroff stays in the monitor");
}

static void test_after(void)
{
	fake_start();
	is_u64((uint64_t)boots("after=poweroff", good, dies), 1, "after=poweroff");
	ok(strstr(fake_out, "guest a: exited, status 1\r\n") != NULL, "once the last has ended");
	vm_on_last_end(NULL);
	fake_start();
	is_u64((uint64_t)boots("after=reboot", good, dies), 2, "after=reboot");
	vm_on_last_end(NULL);
}

int main(void)
{
	fake_start();
	lend_modules();
	test_table();
	test_cycle();
	test_end_from_exit();
	test_reset();
	test_failures();
	test_last_end();
	test_sleep();
	test_fair();
	test_boot();
	test_boot_bad();
	test_after();
	fake_start();
	return tap_done();
}
