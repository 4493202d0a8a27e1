/* SPDX-License-Identifier: BSD-2-Clause */
/* vm/monitor.c: every command over the serial line, right and wrong. */
// links: vm/console.c vm/monitor.c vm/lineedit.c vm/cmdline.c vm/vm.c vm/vcpu.c vm/sched.c
// links: vm/timer.c vm/clock.c lib/log.c lib/string.c lib/format.c tests/unit/fake_vm.c
// links: vm/pcpu.c
#include <stdlib.h>

#include "lib/log.h"
#include "tests/tap.h"
#include "tests/unit/fake_vm.h"
#include "vm/console.h"
#include "vm/init.h"
#include "vm/monitor.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

const struct vm_module *vm_module_find(const char *name)
{
	static const struct vm_module any = {.name = "any", .data = "", .size = 0};

	return strcmp(name, "gone") == 0 ? NULL : &any;
}

static enum vcpu_run halt(struct vcpu *v)
{
	v->exits[0] += 3;
	v->exits[1] += 5;
	return VCPU_RUN_HALTED;
}

static struct vm *define(const char *name, uint64_t memory)
{
	static struct guest_conf conf;
	struct vm *vm = NULL;

	conf = (struct guest_conf){
		.memory = memory, .vcpus = 1, .kernel = "vmlinuz", .cmdline = "console=ttyS0"};
	snprintf(conf.name, sizeof(conf.name), "%s", name);
	vm_define(&conf, &vm);
	return vm;
}

static void start(void)
{
	fake_start();
	fake_run = halt;
	log_set_level(LOG_INFO);
	define("debian", 512 << 20);
	define("t1", 1536 << 10);
	fake_out_reset();
}

/* Types a line; what is printed between its echo and the next prompt. */
static const char *answer(const char *line)
{
	static char text[1 << 16];
	size_t echo = strlen(line) + 2, prompt = strlen("\rsluice> ");

	fake_out_reset();
	fake_type(line);
	fake_type("\r");
	fake_steps(2);
	text[0] = '\0';
	if (fake_out_len >= echo + prompt &&
	    strcmp(fake_out + fake_out_len - prompt, "\rsluice> ") == 0)
		snprintf(text, sizeof(text), "%.*s", (int)(fake_out_len - echo - prompt),
			 fake_out + echo);
	else
		snprintf(text, sizeof(text), "(no prompt) %.1000s", fake_out);
	return text;
}

static void says(const char *line, const char *want)
{
	is_str(answer(line), want, line[0] ? line : "(empty line)");
}

/* The answer contains each of the words, and no line is wider than the screen. */
static void mentions(const char *line, const char *const words[])
{
	const char *got = answer(line);
	size_t width = 0;
	bool wide = false;

	for (; *words; words++)
		ok(strstr(got, *words) != NULL, "%s: '%s'", line, *words);
	for (const char *p = got; *p; p++) {
		width = *p == '\n' ? 0 : width + (*p != '\r');
		wide = wide || width > 80;
	}
	/* `info` and `log` show long texts at full length. */
	if (!strstr(line, "info") && strcmp(line, "log") != 0)
		ok(!wide, "%s: fits 80 columns", line);
}

#define MENTIONS(line, ...) mentions(line, (const char *const[]){__VA_ARGS__, NULL})

static void test_wrong(void)
{
	start();
	says("", "");
	says("    ", "");
	MENTIONS("lst", "no command 'lst'; there are:\r\n", " list,", " poweroff");
	MENTIONS("help nothing", "no command 'nothing'; there are:");
	MENTIONS("a b c d e f g h i j k", "no command 'a'");
	says("list x", "usage: list\r\n");
	says("list 1 2 3 4 5 6 7 8 9", "usage: list\r\n");
	says("start", "usage: start GUEST\r\n");
	says("start debian t1", "usage: start GUEST\r\n");
	says("start deb", "no guest 'deb'; there are:\r\n debian, t1\r\n");
	says("destroy debian", "guest debian: not running (it is defined)\r\n");
	says("reset debian", "guest debian: not running (it is defined)\r\n");
	says("shutdown debian", "guest debian: not running (it is defined)\r\n");
	says("console debian", "guest debian: not running (it is defined)\r\n");
	fake_start();
	says("start x", "no guest 'x': none is defined\r\n");
	says("list", "no guest is defined\r\n");
}

static void test_long_line(void)
{
	static char line[10001];
	const char *got;

	start();
	memset(line, 'q', 10000);
	fake_type(line);
	fake_steps(100);
	ok(fake_rx_left == 0, "10,000 characters are taken");
	fake_out_reset();
	fake_type("\r");
	fake_steps(5);
	ok(strstr(fake_out,
		  "a line of 10000 characters; at most 511 fit, so it was not executed") != NULL,
	   "and refused with a message");
	got = answer("list");
	ok(strstr(got, "debian") != NULL, "the next line is well");
}

static void test_list(void)
{
	start();
	says("list", "NAME    STATE    VCPUS  MEMORY  LAST END\r\n"
		     "debian  defined      1    512M  -\r\n"
		     "t1      defined      1   1536K  -\r\n");
	answer("start debian");
	answer("start t1");
	vm_stop(vm_find("t1"), VM_CAUSE_KILLED, 0,
		"a reason that is much too long for the column, since it has %d characters", 67);
	fake_steps(2);
	says("list",
	     "NAME    STATE    VCPUS  MEMORY  LAST END\r\n"
	     "debian  running      1    512M  -\r\n"
	     "t1      crashed      1   1536K  killed: a reason that is much too long for t...\r\n");
	MENTIONS("info t1",
		 "killed: a reason that is much too long for the column, since it has 67 "
		 "characters\r\n");
}

static void test_life(void)
{
	start();
	says("start debian", "guest debian: started\r\n");
	says("start debian", "guest debian: cannot start: it is running\r\n");
	MENTIONS("info debian", "state:     running for 0.0", "kernel:    vmlinuz",
		 "cmdline:   console=ttyS0", "memory:    512M, 0.0M populated", "halted, CPU 0",
		 "started:   1 times, reset 0 times", "8 exits", "rip 0x1234 of vCPU 0");
	ok(strstr(fake_out, "cpuid") < strstr(fake_out, "hlt"), "exits: the most frequent first");
	says("reset debian", "guest debian: reset\r\n");
	says("shutdown debian", "guest debian: power button pressed\r\n");
	ok(strstr(fake_calls, "button") != NULL, "which reaches the board");
	says("destroy debian", "guest debian: destroyed\r\n");
	says("destroy debian", "guest debian: not running (it is stopped)\r\n");
	says("start debian", "guest debian: started\r\n");
	MENTIONS("info debian", "started:   2 times, reset 1 times", "last end:  destroyed");
	snprintf(vm_find("t1")->conf.kernel, sizeof(vm_find("t1")->conf.kernel), "gone");
	says("start t1", "guest t1: cannot start: module 'gone' was not loaded (GRUB says \"out of "
			 "memory\" when it does not fit)\r\n");
}

static void test_machine(void)
{
	start();
	answer("start debian");
	MENTIONS("mem", "total            262144 frames    1024.0M",
		 "free             131072 frames", "guest debian: memory 512M");
	MENTIONS("tlb",
		 "   0       1000        900        40       5       6        70       8       9",
		 "3 frames are dead");
	MENTIONS("cpus", "Fake CPU, 2000 MHz", "   0         0  running",
		 "   1         4  not used");
	log_debug("deep down");
	MENTIONS("log", "deep down\r\n");
	says("loglevel", "loglevel info\r\n");
	says("loglevel debug", "loglevel debug\r\n");
	says("loglevel loud", "loglevel 'loud': expected error, warn, info or debug\r\n");
	log_set_level(LOG_ERR);
	says("destroy debian", "guest debian: destroyed\r\n");
	MENTIONS("help", "Ctrl-] leaves a guest's console", "list", "poweroff");
	MENTIONS("help console", "usage: console GUEST\r\n", "Ctrl-] returns");
	if (setjmp(fake_power) == 0) {
		answer("poweroff");
		ok(false, "poweroff does not return");
	} else {
		ok(strstr(fake_out, "powering off\r\n") != NULL,
		   "poweroff, once it is on the line");
	}
}

static void test_completion(void)
{
	start();
	fake_type("sta\tdeb\t");
	fake_steps(1);
	is_str(fake_out, "start debian ", "Tab: command and guest");
	fake_type("\r");
	fake_steps(2);
	ok(vm_find("debian")->state == VM_RUNNING, "and Enter does it");
	fake_out_reset();
	fake_type("help poweroff \t\003help po\t\r");
	fake_steps(2);
	ok(strstr(fake_out, "usage: poweroff\r\n") != NULL, "help completes commands");
	fake_out_reset();
	fake_type("list d\t");
	fake_steps(1);
	is_str(fake_out, "list d\a", "nothing where no guest is taken");
}

int main(void)
{
	start();
	test_wrong();
	test_long_line();
	test_list();
	test_life();
	test_machine();
	test_completion();
	log_set_sink(NULL);
	return tap_done();
}
