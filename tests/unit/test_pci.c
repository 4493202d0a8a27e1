/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI configuration mechanism 1: the address register, widths, the host bridge, functions of
 * devices. */
// links: vm/dev/pci.c
#include "vm/dev/pci.h"

#include "lib/errno.h"
#include "tests/tap.h"

static struct pci pci;

static void outb(unsigned port, uint8_t v)
{
	pci_ops.write(&pci, port - 0xcf8, 1, v);
}

static void outw(unsigned port, uint16_t v)
{
	pci_ops.write(&pci, port - 0xcf8, 2, v);
}

static void outl(unsigned port, uint32_t v)
{
	pci_ops.write(&pci, port - 0xcf8, 4, v);
}

static uint8_t inb(unsigned port)
{
	return (uint8_t)pci_ops.read(&pci, port - 0xcf8, 1);
}

static uint16_t inw(unsigned port)
{
	return (uint16_t)pci_ops.read(&pci, port - 0xcf8, 2);
}

static uint32_t inl(unsigned port)
{
	return (uint32_t)pci_ops.read(&pci, port - 0xcf8, 4);
}

static void select_reg(unsigned bus, unsigned dev, unsigned fn, unsigned reg)
{
	outl(0xcf8, 0x80000000u | bus << 16 | dev << 11 | fn << 8 | reg);
}

/* Linux's pci_check_type1: a byte to 0xcfb must not count, a dword to 0xcf8 must. */
static void test_mechanism(void)
{
	pci_init(&pci);
	outb(0xcfb, 0x01);
	outl(0xcf8, 0x80000000);
	is_u64(inl(0xcf8), 0x80000000, "the address register reads back");
	outl(0xcf8, 0xffffffff);
	is_u64(inl(0xcf8), 0x80fffffc, "reserved bits read zero");
	outw(0xcf8, 0);
	outb(0xcf8, 0);
	is_u64(inl(0xcf8), 0x80fffffc, "narrow writes do not reach it");
	ok(inb(0xcf8) == 0xff && inw(0xcfa) == 0xffff, "nor do narrow reads");
	outl(0xcf8, 0);
	is_u64(inl(0xcfc), 0xffffffff, "without the enable bit there is nobody");
	outl(0xcfc, 0);
	select_reg(0, 0, 0, 0);
	is_u64(inl(0xcfc), 0x0d578086, "host bridge 8086:0d57");
	is_u64(inw(0xcfc), 0x8086, "vendor by word");
	is_u64(inw(0xcfe), 0x0d57, "device by word at 0xcfe");
	ok(inb(0xcfd) == 0x80 && inb(0xcff) == 0x0d, "and bytes");
	select_reg(0, 0, 0, 8);
	is_u64(inl(0xcfc), 0x06000000, "class: host bridge, revision 0");
	select_reg(0, 0, 0, 0x0c);
	is_u64(inb(0xcfe), 0, "header type 0, one function");
	select_reg(0, 0, 0, 0x34);
	is_u64(inb(0xcfc), 0, "no capabilities");
}

static void test_enumeration(void)
{
	unsigned found = 0, bars = 0;

	for (unsigned bus = 0; bus < 256; bus++)
		for (unsigned dev = 0; dev < 32; dev++)
			for (unsigned fn = 0; fn < 8; fn++) {
				select_reg(bus, dev, fn, 0);
				found += inl(0xcfc) != 0xffffffff;
			}
	is_u64(found, 1, "a scan of every bus finds one function");
	for (unsigned reg = 0x10; reg < 0x28; reg += 4) {
		select_reg(0, 0, 0, reg);
		outl(0xcfc, 0xffffffff);
		bars |= inl(0xcfc);
	}
	is_u64(bars, 0, "sizing finds no BAR");
	select_reg(0, 0, 0, 4);
	outl(0xcfc, 0xffffffff);
	is_u64(inl(0xcfc), 0x00000006, "the bridge's command bits are wired");
}

static unsigned written_off, written_size, written_calls;

static void written(struct pci_function *fn, unsigned off, unsigned size)
{
	(void)fn;
	written_off = off;
	written_size = size;
	written_calls++;
}

static void test_function(void)
{
	static struct pci_function fn, other;

	pci_init(&pci);
	pci_function_init(&fn, 0x1234, 0x5678, 0x020000);
	fn.written = written;
	for (unsigned i = 0x10; i < 0x14; i++)
		fn.writable[i] = 0xff;
	fn.writable[0x10] = 0;
	fn.writable[0x11] = 0xf0; /* a BAR of 4 KiB */
	fn.writable[PCI_COMMAND] = 0x06;
	ok(pci_add(&pci, 3, 1, &fn) == 0, "a device's function");
	ok(pci_add(&pci, 3, 1, &other) == -EEXIST, "one at each place");
	ok(pci_add(&pci, 0, 0, &other) == -EEXIST, "the bridge's is taken");
	select_reg(0, 3, 1, 0);
	is_u64(inl(0xcfc), 0x56781234, "is found");
	select_reg(0, 3, 1, 8);
	is_u64(inl(0xcfc), 0x02000000, "with its class");
	select_reg(0, 3, 1, 0x10);
	outl(0xcfc, 0xffffffff);
	is_u64(inl(0xcfc), 0xfffff000, "BAR sizing");
	ok(written_calls == 1 && written_off == 0x10 && written_size == 4, "the device was told");
	outw(0xcfe, 0xc123);
	is_u64(inl(0xcfc), 0xc123f000, "a word into its upper half");
	ok(written_off == 0x12 && written_size == 2, "told which");
	outb(0xcfd, 0x00);
	is_u64(inl(0xcfc), 0xc1230000, "a byte");
	select_reg(0, 3, 1, 4);
	outl(0xcfc, 0xffffffff);
	is_u64(inl(0xcfc), 0x00000006, "only the command's writable bits");
	select_reg(0, 3, 1, 0xfc);
	is_u64(inl(0xcfc), 0, "the last dword");
	pci_reset(&pci);
	is_u64(inl(0xcf8), 0, "reset clears the address");
	select_reg(0, 3, 1, 0x10);
	is_u64(inl(0xcfc), 0xc1230000, "and leaves devices to themselves");
}

int main(void)
{
	test_mechanism();
	test_enumeration();
	test_function();
	return tap_done();
}
