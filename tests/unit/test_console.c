/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vm/console.c: lines never mix, nothing is lost, a guest's output waits and a message does not,
 * keys reach the guest with its flow control, and Ctrl-] always gets through.
 */
// links: vm/console.c vm/monitor.c vm/lineedit.c vm/cmdline.c vm/vm.c vm/vcpu.c vm/sched.c
// links: vm/timer.c vm/clock.c lib/log.c lib/string.c lib/format.c tests/unit/fake_vm.c
// links: vm/pcpu.c
#include <stdlib.h>

#include "arch/machine.h"
#include "lib/log.h"
#include "tests/tap.h"
#include "tests/unit/fake_vm.h"
#include "vm/console.h"
#include "vm/init.h"
#include "vm/pcpu.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

static struct vm *a, *b;

const struct vm_module *vm_module_find(const char *name)
{
	static const struct vm_module any = {.name = "any", .data = "", .size = 0};

	(void)name;
	return &any;
}

static enum vcpu_run halt(struct vcpu *v)
{
	(void)v;
	return VCPU_RUN_HALTED;
}

static struct vm *guest(const char *name)
{
	static struct guest_conf conf;
	struct vm *vm = NULL;
	char err[128];

	conf = (struct guest_conf){.memory = 1 << 20, .vcpus = 1};
	snprintf(conf.name, sizeof(conf.name), "%s", name);
	vm_define(&conf, &vm);
	vm_start(vm, err, sizeof(err));
	return vm;
}

/* Two guests that halt; the monitor in front, nothing on the line. */
static void start(void)
{
	fake_start();
	fake_run = halt;
	a = guest("a");
	b = guest("b");
	fake_steps(4);
	fake_out_reset();
}

static size_t say(struct vm *vm, const char *s)
{
	return console_guest_write(vm, s, strlen(s));
}

static void out_is(const char *want, const char *name)
{
	is_str(fake_out, want, name);
	fake_out_reset();
}

#define WIPE "\r        \r" /* "sluice> " goes */

static void test_attach(void)
{
	start();
	say(a, "one\r\ntw");
	say(b, "other");
	out_is("", "a detached guest prints nothing");
	console_attach(a);
	out_is(WIPE "\n[attached to a: Ctrl-] returns to the monitor]\r\none\r\ntw",
	       "attach: a hint, then what was kept");
	say(b, " guest");
	say(a, "o\r\n");
	out_is("o\r\n", "then it is live, and the other is not");
	fake_type("\x1d");
	fake_steps(1);
	out_is("[sluice: detached from a]\r\n\rsluice> ", "Ctrl-]: a hint and the prompt");
	ok(console_attached() == NULL, "detached");
	say(a, "$ ");
	fake_type("console b\r");
	fake_steps(1);
	out_is("console b\r\n[attached to b: Ctrl-] returns to the monitor]\r\nother guest",
	       "the other's output is whole");
	console_attach(a);
	out_is("\r\n[attached to a: Ctrl-] returns to the monitor]\r\n$ ",
	       "from one guest to another, on a new line");
}

static void test_kept(void)
{
	static char text[40000];
	const char *end;

	start();
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i % 23);
	is_u64(say(a, text), sizeof(text) - 1, "a detached guest is never told to wait");
	console_attach(a);
	while (fake_out_len == 0 || strlen(fake_out) < CONSOLE_RING)
		fake_steps(1);
	ok(strstr(fake_out, "[23615 earlier characters were dropped]\r\n") != NULL,
	   "what was dropped is counted");
	end = fake_out + fake_out_len - CONSOLE_RING;
	ok(memcmp(end, text + sizeof(text) - 1 - CONSOLE_RING, CONSOLE_RING) == 0,
	   "the newest 16 KiB come out whole");
}

static void test_messages(void)
{
	start();
	log_info("hello");
	out_is(WIPE "hello\r\n\rsluice> ", "a message goes above the prompt");
	fake_type("li");
	fake_steps(1);
	fake_out_reset();
	log_info("again");
	out_is("\r          \ragain\r\n\rsluice> li", "and above the line that is being typed");
	fake_type("st\r");
	fake_steps(1);
	ok(strstr(fake_out, "NAME") != NULL, "which goes on");
	console_attach(a);
	say(a, "login: ");
	fake_out_reset();
	log_info("noise");
	out_is("\r\nnoise\r\n", "in a guest's line: a line of its own");
	say(a, "x\r\n");
	out_is("x\r\n", "the guest goes on below");
	log_info("more");
	out_is("more\r\n", "no empty line where the cursor is on a fresh one");
}

static void test_flow(void)
{
	size_t taken = 0, n;
	char line[64];

	start();
	console_attach(a);
	fake_out_reset();
	fake_tx_room = 16;
	memset(line, 'g', sizeof(line));
	while ((n = console_guest_write(a, line, sizeof(line))) == sizeof(line))
		taken += n;
	taken += n;
	ok(taken > 500 && taken < 4096, "an attached guest has to wait for a slow line (%zu)",
	   taken);
	ok(fake_tx_waiting, "the UART is asked to call");
	is_u64(fake_drained, 0, "not called while nothing moves");
	is_u64(console_guest_write(a, "x", 1), 0, "nothing is taken meanwhile");

	log_info("urgent");
	fake_tx_room = 1500;
	pcpu_raise(PCPU_WORK_CONSOLE);
	fake_steps(1);
	ok(strstr(fake_out, "\r\nurgent\r\n") != NULL &&
		   strstr(fake_out, "\r\nurgent") - fake_out < 600,
	   "a message waits for 512 bytes of it at most");
	fake_tx_room = SIZE_MAX;
	pcpu_raise(PCPU_WORK_CONSOLE);
	fake_steps(1);
	is_u64(fake_drained, 1, "there is room again: the board is told once");
	n = 0;
	for (const char *p = fake_out; *p; p++)
		n += *p == 'g' && p[1] != 'e';
	is_u64(n, taken, "what was taken came out, all of it");
}

static void test_detach_behind(void)
{
	char line[2000];

	start();
	console_attach(a);
	fake_tx_room = 0;
	memset(line, 'y', sizeof(line));
	ok(console_guest_write(a, line, sizeof(line)) < sizeof(line), "a guest waits");
	fake_type("\x1d");
	fake_steps(1);
	is_u64(fake_drained, 1, "detached it need not wait any longer");
	fake_tx_room = SIZE_MAX;
	pcpu_raise(PCPU_WORK_CONSOLE);
	fake_steps(1);
	ok(strstr(fake_out, "sluice> ") != NULL, "the prompt is there");
	is_u64(fake_out_len - (size_t)(strstr(fake_out, "sluice> ") - fake_out), 8,
	       "and nothing of the guest after it");
}

static void test_slow_messages(void)
{
	unsigned lines = 0;

	start();
	fake_now_step = 1000;
	fake_tx_room = 0;
	for (int i = 0; i < 150; i++)
		log_info("message %03d of a long series, padded so that it is a long line too", i);
	fake_tx_room = SIZE_MAX;
	console_flush();
	for (int i = 0; i < 150; i++) {
		char want[32];

		snprintf(want, sizeof(want), "message %03d ", i);
		lines += strstr(fake_out, want) != NULL;
	}
	is_u64(lines, 150, "messages wait in the ring while the line is stuck");
	fake_out_reset();
	fake_tx_room = 0;
	fake_now_step = 1000000;
	for (int i = 0; i < 600; i++)
		log_info(
			"into a dead line %03d, padded so that it is a long line as well as it can",
			i);
	ok(true, "a dead line does not hang the machine");
	fake_tx_room = SIZE_MAX;
	log_info("alive");
	ok(strstr(fake_out, "alive\r\n") != NULL, "and is used again when it lives");
}

static void test_keys(void)
{
	start();
	console_attach(a);
	fake_room = 3;
	fake_type("hello world");
	fake_steps(1);
	is_str(fake_input, "hel", "keys as the guest has room");
	fake_room = 4;
	console_guest_room(a);
	fake_steps(1);
	is_str(fake_input, "hello w", "the rest when it has room again");
	fake_type("\x1d"
		  "list\r");
	fake_steps(1);
	ok(strstr(fake_out, "LAST END") != NULL, "Ctrl-] overtakes keys that wait");
	fake_room = 100;
	fake_steps(3);
	is_str(fake_input, "hello world", "which still reach their guest, by the poll if need be");
	fake_input_len = 0;
	fake_room = 100;
	console_attach(b);
	fake_type_bytes("a\0\x80\xff\x03", 5);
	fake_steps(1);
	ok(fake_input_len == 5 && memcmp(fake_input, "a\0\x80\xff\x03", 5) == 0,
	   "all bytes pass to a guest as they are");
}

static void test_paste(void)
{
	static char text[30001];
	unsigned rounds = 0;

	start();
	console_attach(a);
	for (int i = 0; i < 30000; i++)
		text[i] = (char)('a' + i % 26);
	fake_type(text);
	while (fake_input_len < 30000 && rounds++ < 100000) {
		if (fake_room == 0)
			fake_room = (size_t)rand() % 17;
		if (rounds % 2)
			console_guest_room(a);
		fake_steps(1);
	}
	is_str(fake_input, text,
	       "30,000 characters into a guest that takes 16 at a time: none lost");
}

static void test_deaf(void)
{
	static char text[5001];
	unsigned rounds = 0;

	start();
	console_attach(a);
	memset(text, 'k', 5000);
	fake_type(text);
	fake_type("\x1d");
	fake_steps(20);
	ok(fake_rx_left > 3000,
	   "keys for a guest that takes none are left to the line's flow control");
	ok(console_attached() == a, "Ctrl-] is behind them");
	while (console_attached() && rounds++ < 1000)
		fake_steps(1);
	ok(!console_attached() && fake_now < 3000000000u,
	   "but not for longer than a second or two");
	ok(strchr(fake_out, '\a') != NULL, "the bell says that keys were dropped");
}

/* Gets nowhere while there is work or an interrupt is pending, as a real guest. */
static enum vcpu_run interruptible(struct vcpu *v)
{
	fake_now -= 1000000; /* what the fake let pass before this */
	machine_take_interrupts();
	if (pcpu_work_pending())
		return VCPU_RUN_WORK;
	fake_now += 100000;
	v->exits[0]++;
	return VCPU_RUN_WORK;
}

static void test_flood(void)
{
	static char text[20000];

	start();
	memset(text, 'z', sizeof(text));
	fake_type_bytes(text, sizeof(text));
	fake_run = interruptible;
	vcpu_kick(a->vcpus[0]);
	fake_steps(60);
	ok(fake_rx_left > 0, "a flood of input is not taken in one go");
	ok(a->vcpus[0]->exits[0] > 30, "and does not stop the guests");
}

static void test_end(void)
{
	start();
	console_attach(a);
	fake_out_reset();
	fake_tx_room = 100;
	char text[801];

	memset(text, 'e', 800);
	text[800] = '\0';
	say(a, text);
	vm_stop(a, VM_CAUSE_POWEROFF, 0, NULL);
	fake_steps(1);
	fake_tx_room = SIZE_MAX;
	console_flush();
	ok(strncmp(fake_out, text, 800) == 0, "all of its output comes before its end");
	is_str(fake_out + 800, "\r\nguest a: powered off\r\n\rsluice> ",
	       "then the line about it, then the prompt");
	say(b, "b says\r\n");
	fake_out_reset();
	vm_stop(b, VM_CAUSE_EXITED, 3, NULL);
	fake_steps(1);
	out_is(WIPE "guest b: exited, status 3\r\n\rsluice> ", "a detached one ends in one line");
	fake_type("console b\r");
	fake_steps(1);
	ok(strstr(fake_out, "b says\r\n") != NULL, "its output can be seen afterwards");
}

/* `info` has printed a part of a line: now another CPU has something to say. */
static void message_in_mid_line(void)
{
	const char part[] = "state:     running";

	if (fake_out_len < sizeof(part) ||
	    strcmp(fake_out + fake_out_len - (sizeof(part) - 1), part) != 0)
		return;
	log_err("from elsewhere");
	log_err("and again");
}

static void test_mid_line(void)
{
	const char *line, *message;

	fake_start();
	fake_run = halt;
	a = guest("a");
	fake_steps(2);
	fake_out_reset();
	fake_on_now = message_in_mid_line;
	fake_type("info a\r");
	fake_steps(1);
	fake_on_now = NULL;
	line = strstr(fake_out, "state:     running for 0.0");
	message = strstr(fake_out, "\r\nfrom elsewhere\r\nand again\r\n");
	ok(line != NULL, "a line of the monitor stays whole");
	ok(message != NULL && line < message && message - line < 40,
	   "messages that came in its middle follow it");
}

int main(void)
{
	test_attach();
	test_kept();
	test_messages();
	test_flow();
	test_detach_behind();
	test_slow_messages();
	test_keys();
	test_paste();
	test_deaf();
	test_flood();
	test_end();
	test_mid_line();
	fake_start();
	return tap_done();
}
