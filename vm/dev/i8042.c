/* SPDX-License-Identifier: BSD-2-Clause */
/* Keyboard controller commands as in IBM's PS/2 hardware interface reference ("keyboard and
 * auxiliary device controller"). */
#include "vm/dev/i8042.h"

#include "lib/string.h"

#define STATUS_OUTPUT	0x01u /* output buffer full */
#define STATUS_SYSTEM	0x04u /* self test passed */
#define STATUS_COMMAND	0x08u /* last written to 0x64, not 0x60 */
#define STATUS_UNLOCKED 0x10u
#define STATUS_AUX	0x20u /* the output buffer's byte is the mouse's */
#define STATUS_TIMEOUT	0x40u /* the device did not answer */

#define CB_KEYBOARD_IRQ 0x01u /* bits of the command byte */
#define CB_MOUSE_IRQ	0x02u
#define CB_SYSTEM	0x04u
#define CB_KEYBOARD_OFF 0x10u
#define CB_MOUSE_OFF	0x20u

#define CMD_READ_RAM	     0x20 /* 0x20-0x3f; byte 0 is the command byte */
#define CMD_WRITE_RAM	     0x60
#define CMD_MOUSE_OFF	     0xa7
#define CMD_MOUSE_ON	     0xa8
#define CMD_MOUSE_TEST	     0xa9
#define CMD_SELF_TEST	     0xaa
#define CMD_KEYBOARD_TEST    0xab
#define CMD_KEYBOARD_OFF     0xad
#define CMD_KEYBOARD_ON	     0xae
#define CMD_READ_OUTPUT_PORT 0xd0
#define CMD_WRITE_OUTPUT     0xd1
#define CMD_KEYBOARD_ECHO    0xd2
#define CMD_MOUSE_ECHO	     0xd3
#define CMD_TO_MOUSE	     0xd4
#define CMD_PULSE	     0xf0 /* 0xf0-0xff: lines whose bit is 0 go low for a moment */

#define OUTPUT_RESET	0x01u /* output port; the line is active low */
#define OUTPUT_A20	0x02u
#define SELF_TEST_OK	0x55
#define PORT_TEST_OK	0x00
#define DEVICE_NO_REPLY 0xfe /* what the controller puts there for a device that is silent */

static void update_irqs(struct i8042 *kbc)
{
	bool full = kbc->s.status & STATUS_OUTPUT, aux = kbc->s.status & STATUS_AUX;

	irq_line_set(&kbc->keyboard, full && !aux && (kbc->s.command & CB_KEYBOARD_IRQ));
	irq_line_set(&kbc->mouse, full && aux && (kbc->s.command & CB_MOUSE_IRQ));
}

/* `source` is STATUS_AUX or 0, with STATUS_TIMEOUT when nobody answered. */
static void put(struct i8042 *kbc, uint8_t val, uint8_t source)
{
	kbc->s.data = val;
	kbc->s.status &= (uint8_t) ~(STATUS_AUX | STATUS_TIMEOUT);
	kbc->s.status |= (uint8_t)(STATUS_OUTPUT | source);
}

static void command(struct i8042 *kbc, uint8_t cmd)
{
	kbc->s.pending = 0;
	if (cmd >= CMD_READ_RAM && cmd < CMD_READ_RAM + sizeof(kbc->s.ram)) {
		put(kbc, cmd == CMD_READ_RAM ? kbc->s.command : kbc->s.ram[cmd & 0x1f], 0);
	} else if (cmd >= CMD_WRITE_RAM && cmd < CMD_WRITE_RAM + sizeof(kbc->s.ram)) {
		kbc->s.pending = cmd;
	} else if (cmd >= CMD_PULSE) {
		if (!(cmd & OUTPUT_RESET))
			kbc->reset(kbc->ctx);
	} else {
		switch (cmd) {
		case CMD_MOUSE_OFF:
			kbc->s.command |= CB_MOUSE_OFF;
			break;
		case CMD_MOUSE_ON:
			kbc->s.command &= (uint8_t)~CB_MOUSE_OFF;
			break;
		case CMD_KEYBOARD_OFF:
			kbc->s.command |= CB_KEYBOARD_OFF;
			break;
		case CMD_KEYBOARD_ON:
			kbc->s.command &= (uint8_t)~CB_KEYBOARD_OFF;
			break;
		case CMD_MOUSE_TEST:
		case CMD_KEYBOARD_TEST:
			put(kbc, PORT_TEST_OK, 0);
			break;
		case CMD_SELF_TEST:
			kbc->s.status |= STATUS_SYSTEM;
			put(kbc, SELF_TEST_OK, 0);
			break;
		case CMD_READ_OUTPUT_PORT:
			put(kbc, OUTPUT_RESET | OUTPUT_A20, 0);
			break;
		case CMD_WRITE_OUTPUT:
		case CMD_KEYBOARD_ECHO:
		case CMD_MOUSE_ECHO:
		case CMD_TO_MOUSE:
			kbc->s.pending = cmd;
			break;
		default: /* unknown ones do nothing */
			break;
		}
	}
}

static void data(struct i8042 *kbc, uint8_t val)
{
	uint8_t cmd = kbc->s.pending;

	kbc->s.pending = 0;
	switch (cmd) {
	case 0: /* for the keyboard */
		put(kbc, DEVICE_NO_REPLY, STATUS_TIMEOUT);
		break;
	case CMD_TO_MOUSE:
		put(kbc, DEVICE_NO_REPLY, STATUS_AUX | STATUS_TIMEOUT);
		break;
	case CMD_KEYBOARD_ECHO:
		put(kbc, val, 0);
		break;
	case CMD_MOUSE_ECHO:
		put(kbc, val, STATUS_AUX);
		break;
	case CMD_WRITE_OUTPUT:
		if (!(val & OUTPUT_RESET))
			kbc->reset(kbc->ctx);
		break;
	case CMD_WRITE_RAM:
		kbc->s.command = val;
		break;
	default:
		kbc->s.ram[cmd & 0x1f] = val;
		break;
	}
}

static uint64_t data_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *kbc = dev;
	uint8_t val;

	(void)off;
	(void)size;
	spin_lock(&kbc->lock);
	val = kbc->s.data;
	kbc->s.status &= (uint8_t) ~(STATUS_OUTPUT | STATUS_AUX | STATUS_TIMEOUT);
	update_irqs(kbc);
	spin_unlock(&kbc->lock);
	return val;
}

static void data_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct i8042 *kbc = dev;

	(void)off;
	(void)size;
	spin_lock(&kbc->lock);
	kbc->s.status &= (uint8_t)~STATUS_COMMAND;
	data(kbc, (uint8_t)val);
	update_irqs(kbc);
	spin_unlock(&kbc->lock);
}

static uint64_t status_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *kbc = dev;
	uint8_t val;

	(void)off;
	(void)size;
	spin_lock(&kbc->lock);
	val = kbc->s.status;
	spin_unlock(&kbc->lock);
	return val;
}

static void command_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct i8042 *kbc = dev;

	(void)off;
	(void)size;
	spin_lock(&kbc->lock);
	kbc->s.status |= STATUS_COMMAND;
	command(kbc, (uint8_t)val);
	update_irqs(kbc);
	spin_unlock(&kbc->lock);
}

const struct io_ops i8042_data_ops = {.read = data_read, .write = data_write, .max_size = 1};
const struct io_ops i8042_command_ops = {
	.read = status_read, .write = command_write, .max_size = 1};

void i8042_init(struct i8042 *kbc, const struct irq_line *keyboard, const struct irq_line *mouse,
		void (*reset)(void *ctx), void *ctx)
{
	memset(kbc, 0, sizeof(*kbc));
	kbc->lock = (struct spinlock)SPINLOCK_INIT;
	kbc->keyboard = *keyboard;
	kbc->mouse = *mouse;
	kbc->reset = reset;
	kbc->ctx = ctx;
}

void i8042_reset(struct i8042 *kbc)
{
	spin_lock(&kbc->lock);
	memset(&kbc->s, 0, sizeof(kbc->s));
	kbc->s.version = I8042_STATE_VERSION;
	kbc->s.status = STATUS_UNLOCKED | STATUS_SYSTEM;
	kbc->s.command = CB_SYSTEM | CB_KEYBOARD_OFF | CB_MOUSE_OFF;
	update_irqs(kbc);
	spin_unlock(&kbc->lock);
}
