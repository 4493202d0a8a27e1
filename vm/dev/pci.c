/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI configuration mechanism 1 and the functions behind it. */
#include "vm/dev/pci.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"

#define ADDRESS_ENABLE	 0x80000000u
#define ADDRESS_BITS	 0x80fffffcu /* the others read as zero */
#define ADDRESS_BUS(a)	 ((a) >> 16 & 0xffu)
#define ADDRESS_DEVFN(a) ((a) >> 8 & 0xffu)
#define ADDRESS_REG(a)	 ((a)&0xfcu)
#define DATA_OFFSET	 4 /* 0xcfc from 0xcf8 */

static struct pci_function *addressed(const struct pci *pci)
{
	if (!(pci->s.address & ADDRESS_ENABLE) || ADDRESS_BUS(pci->s.address) != 0)
		return NULL;
	return pci->function[ADDRESS_DEVFN(pci->s.address)];
}

static uint64_t config_read(const struct pci *pci, unsigned off, unsigned size)
{
	const struct pci_function *fn = addressed(pci);
	unsigned reg = ADDRESS_REG(pci->s.address) + off;
	uint64_t val = 0;

	if (fn == NULL)
		return UINT64_MAX;
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)fn->s.config[reg + i] << (8 * i);
	return val;
}

static void config_write(struct pci *pci, unsigned off, unsigned size, uint64_t val)
{
	struct pci_function *fn = addressed(pci);
	unsigned reg = ADDRESS_REG(pci->s.address) + off;

	if (fn == NULL)
		return;
	for (unsigned i = 0; i < size; i++) {
		uint8_t mask = fn->writable[reg + i], old = fn->s.config[reg + i];

		fn->s.config[reg + i] = (uint8_t)((old & ~mask) | (val >> (8 * i) & mask));
	}
	if (fn->written != NULL)
		fn->written(fn, reg, size);
}

/*
 * Only a dword at 0xcf8 itself is the address register. Smaller accesses there go to whatever else
 * a chipset has at these ports: nothing here (the board puts its reset register at 0xcf9 in front).
 */
static uint64_t pci_io_read(void *dev, uint64_t off, unsigned size)
{
	struct pci *pci = dev;
	uint64_t val = UINT64_MAX;

	spin_lock(&pci->lock);
	if (off >= DATA_OFFSET)
		val = config_read(pci, (unsigned)off - DATA_OFFSET, size);
	else if (off == 0 && size == 4)
		val = pci->s.address;
	spin_unlock(&pci->lock);
	return val;
}

static void pci_io_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pci *pci = dev;

	spin_lock(&pci->lock);
	if (off >= DATA_OFFSET)
		config_write(pci, (unsigned)off - DATA_OFFSET, size, val);
	else if (off == 0 && size == 4)
		pci->s.address = (uint32_t)val & ADDRESS_BITS;
	spin_unlock(&pci->lock);
}

const struct io_ops pci_ops = {.read = pci_io_read, .write = pci_io_write, .max_size = 4};

void pci_set16(struct pci_function *fn, unsigned off, uint16_t val)
{
	fn->s.config[off] = (uint8_t)val;
	fn->s.config[off + 1] = (uint8_t)(val >> 8);
}

void pci_function_init(struct pci_function *fn, uint16_t vendor, uint16_t device, uint32_t class)
{
	memset(fn, 0, sizeof(*fn));
	pci_set16(fn, PCI_VENDOR_ID, vendor);
	pci_set16(fn, PCI_DEVICE_ID, device);
	fn->s.config[PCI_CLASS] = (uint8_t) class;
	fn->s.config[PCI_CLASS + 1] = (uint8_t)(class >> 8);
	fn->s.config[PCI_CLASS + 2] = (uint8_t)(class >> 16);
}

int pci_add(struct pci *pci, unsigned device, unsigned function, struct pci_function *fn)
{
	unsigned devfn = (device & 31) << 3 | (function & 7);

	if (pci->function[devfn] != NULL)
		return -EEXIST;
	pci->function[devfn] = fn;
	return 0;
}

void pci_init(struct pci *pci)
{
	memset(pci, 0, sizeof(*pci));
	pci->lock = (struct spinlock)SPINLOCK_INIT;
	pci->s.version = PCI_STATE_VERSION;
	pci->function[0] = &pci->host;
	pci_reset(pci);
}

void pci_reset(struct pci *pci)
{
	spin_lock(&pci->lock);
	pci->s.address = 0;
	pci_function_init(&pci->host, PCI_HOST_VENDOR, PCI_HOST_DEVICE, 0x060000);
	/* A host bridge decodes memory and masters the bus, always: the bits are wired. */
	pci_set16(&pci->host, PCI_COMMAND, 0x0006);
	spin_unlock(&pci->lock);
}
