/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the machine being up to the first guest running: command line, virtualisation, guests file,
 * autostart. Whatever of it goes wrong is said in one line, and the monitor is there in any case.
 */
#include "vm/init.h"

#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/vcpu.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/kalloc.h"
#include "tlbi/tags.h"
#include "vm/cmdline.h"
#include "vm/conf.h"
#include "vm/console.h"
#include "vm/monitor.h"
#include "vm/pcpu.h"
#include "vm/sched.h"
#include "vm/vm.h"

#define GUESTS_FILE "guests.conf"
#define GUESTS_MAX  256 /* in one file */

static struct vm_boot boot;
static struct cmdline options;
static bool can_run_guests;

const struct vm_module *vm_module_find(const char *name)
{
	for (size_t i = 0; i < boot.nr_modules; i++)
		if (strcmp(boot.modules[i].name, name) == 0)
			return &boot.modules[i];
	return NULL;
}

/* --- command line ----------------------------------------------------------------------------- */

static void report_cmdline(void *ctx, const char *msg)
{
	(void)ctx;
	log_err("%s", msg);
}

static void init_options(void)
{
	cmdline_parse(boot.cmdline, &options, report_cmdline, NULL);
	log_set_level(options.loglevel);
	if (options.selftest)
		log_err("command line: selftest is not in this version");
	if (options.unmap != UNMAP_AUTO)
		log_err("command line: unmap= has no effect on this machine");
	if (options.flush != FLUSH_LAZY)
		log_err("command line: flush=eager is not in this version, flushes are lazy");
}

/* --- virtualisation --------------------------------------------------------------------------- */

static void init_virt(void)
{
	const char *why = arch_virt_init();

	if (!why) {
		tlbi_init();
		if (tlbi_pcpu_init(PCPU_BOOT))
			why = "not enough memory";
	}
	vm_set_unavailable(why);
	can_run_guests = !why;
	if (why)
		log_err("this machine cannot run guests: %s", why);
	else
		log_info("%s", arch_virt_describe());
}

/* --- the other CPUs --------------------------------------------------------------------------- */

/* On the pCPU that has just come up. */
static const char *cpu_ready(void)
{
	const char *why = NULL;

	if (can_run_guests) {
		why = arch_virt_init();
		if (!why && tlbi_pcpu_init(hw_cpu()))
			why = "not enough memory";
	}
	if (!why && pcpu_init(hw_cpu()))
		why = "not enough memory";
	return why;
}

static void start_cpus(void)
{
	unsigned running = machine_start_cpus(cpu_ready, sched_main);

	log_info("cpu: %u running", running);
}

/* --- guests ----------------------------------------------------------------------------------- */

static void report_conf(void *ctx, unsigned line, const char *msg)
{
	(void)ctx;
	(void)line;
	log_err("%s", msg);
}

static void define(const struct guest_conf *conf)
{
	char text[256];
	const char *missing;
	struct vm *vm;
	int ret = vm_define(conf, &vm);

	if (ret == -EEXIST)
		log_err(GUESTS_FILE ":%u: there is a guest '%s' already", conf->line, conf->name);
	else if (ret)
		log_err("guest %s: not defined: not enough memory", conf->name);
	if (ret)
		return;
	missing = vm_missing_module(conf);
	/* One that starts now says it then. */
	if (missing && !conf->autostart)
		log_err("guest %s: %s", conf->name,
			vm_describe_missing(missing, text, sizeof(text)));
}

static void define_guests(void)
{
	const struct vm_module *file = vm_module_find(GUESTS_FILE);
	struct guest_conf *confs;
	size_t count = 0;

	if (!file) {
		log_err("no guests: the boot loader brought no module '" GUESTS_FILE
			"' (GRUB: module2 --nounzip /boot/" GUESTS_FILE " " GUESTS_FILE ")");
		return;
	}
	confs = kzalloc(GUESTS_MAX * sizeof(*confs));
	if (!confs) {
		log_err(GUESTS_FILE ": not enough memory to read it");
		return;
	}
	conf_parse(file->data, file->size, GUESTS_FILE, confs, GUESTS_MAX, &count, report_conf,
		   NULL);
	for (size_t i = 0; i < count; i++)
		define(&confs[i]);
	if (count == 0)
		log_err("no guests: " GUESTS_FILE " defines none that can be used");
	kfree(confs);
}

static void start_guests(void)
{
	char err[256];

	for (struct vm *vm = vm_first(); vm; vm = vm_next(vm)) {
		if (!vm->conf.autostart)
			continue;
		if (vm_start(vm, err, sizeof(err))) {
			log_err("guest %s: cannot start: %s", vm->conf.name, err);
			continue;
		}
		log_info("guest %s: started", vm->conf.name);
	}
}

/* The first that runs has the line from its first character on. */
static void attach_first(void)
{
	for (struct vm *vm = vm_first(); vm; vm = vm_next(vm)) {
		if (vm->state == VM_RUNNING) {
			console_attach(vm);
			return;
		}
	}
}

static void all_ended(void)
{
	switch (options.after) {
	case AFTER_MONITOR:
		return;
	case AFTER_POWEROFF:
		log_info("the last guest has ended: powering off (after=poweroff)");
		console_flush();
		machine_poweroff();
	case AFTER_REBOOT:
		log_info("the last guest has ended: rebooting (after=reboot)");
		console_flush();
		machine_reboot();
	}
}

void vm_main(const struct vm_boot *from_boot)
{
	boot = *from_boot;
	CHECK(pcpu_init(PCPU_BOOT) == 0);
	console_init();
	monitor_init();
	init_options();
	init_virt();
	start_cpus();
	vm_on_last_end(all_ended);
	define_guests();
	start_guests();
	attach_first();
	if (!console_attached()) {
		log_info("the monitor: `help` says what there is");
		monitor_front(true);
	}
	sched_main();
}
