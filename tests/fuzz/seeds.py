#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the seed corpora of the fuzzers: seeds.py DIR makes DIR/fuzz_NAME/ for each of them.

Inputs are made here, from the formats, so that the tree holds no binary blobs. The same inputs come
out on every run.
"""
import pathlib
import struct
import sys


def conf_seeds():
    full = """\
; the guests
[guest debian]  # stock
kernel    = vmlinuz
initrd    = initrd.img
cmdline   = console=ttyS0 root=/dev/x;y
memory    = 512M
vcpus     = 2
autostart = yes
prealloc  = no
cpu       = 0-1,4
devices   = debug-exit

[guest t1]
kernel = t1.elf
cmdline = "a \\" b ; c"
module = env NR_CPUS=1 MEMSIZE=128
module = two
"""
    yield full.encode()
    yield b"\xef\xbb\xbf" + full.replace("\n", "\r\n").encode()
    for value in ("memory = 0", "memory = 3G", "vcpus = 9", "cpu = 255", "cmdline = \"x", "what",
                  "[guest a]", "[guest", "kernel = again", "cmdline = a\0b", "devices = x,y"):
        yield f"[guest a]\nkernel = k\n{value}\n[guest b]\nkernel = k".encode()


def linux(version=0x20f, xloadflags=0x3f, pref=16 << 20, init_size=9 << 20, align=2 << 20,
          relocatable=1, code=0x800, setup_sects=2):
    image = bytearray((setup_sects + 1) * 512 + code)
    image[0x1f1] = setup_sects
    struct.pack_into("<I", image, 0x1f4, code // 16)
    struct.pack_into("<HH4sH", image, 0x1fe, 0xaa55, 0x6aeb, b"HdrS", version)
    image[0x211] = 1
    struct.pack_into("<IIBBHI", image, 0x22c, 0x7fffffff, align, relocatable, 21, xloadflags, 2047)
    struct.pack_into("<QI", image, 0x258, pref, init_size)
    return bytes(image)


def multiboot_header(flags, addresses=()):
    words = (0x1badb002, flags, -(0x1badb002 + flags) & 0xffffffff, *addresses)
    return struct.pack(f"<{len(words)}I", *words)


def elf32(segments, entry, flags=3):
    """segments: (physical address, bytes, memory size)"""
    at = 52 + 32 * len(segments)
    header = multiboot_header(flags)
    phdrs, body = b"", header
    at += len(header)
    for addr, data, memsz in segments:
        phdrs += struct.pack("<8I", 1, at, addr, addr, len(data), memsz, 7, 4)
        body += data
        at += len(data)
    ehdr = struct.pack("<4s3B9x2HI3IIHHHHHH", b"\x7fELF", 1, 1, 1, 2, 3, 1, entry, 52, 0, 0, 52, 32,
                       len(segments), 0, 0, 0)
    return ehdr + phdrs + body


def load_seeds():
    # Control bytes: see fuzz_load.c.
    controls = [bytes((c, 200, 3, 0)) for c in (0, 1, 2 | 4, 2 | 8, 3 | 4 | 32, 2 | 24, 1 | 64)]
    raw = b"\x90" * 64 + multiboot_header(0x10003, (0x200040, 0x200000, 0, 0x280000, 0x200000))
    kernels = [
        linux(), linux(relocatable=0), linux(pref=0), linux(align=1 << 30), linux(version=0x20b),
        linux(xloadflags=0), linux(init_size=0xffffffff),
        elf32([(4 << 20, b"\xf4" * 99, 4096), (5 << 20, b"data", 12 << 20)], 4 << 20),
        elf32([(0x8000, b"\xf4", 1)], 0x8000), elf32([(1 << 20, b"", 0)], 1 << 20),
        elf32([(2 << 20, b"\xf4", 1)], 2 << 20, flags=4),
        raw + b"\xf4" * 64, b"\x7fELF" + bytes(60), b"\x1f\x8b\x08",
    ]
    for kernel in kernels:
        for control in controls:
            yield control + kernel


def tag(kind, body):
    return struct.pack("<II", kind, 8 + len(body)) + body + bytes(-len(body) % 8)


def multiboot2_info(*tags):
    body = b"".join(tags) + tag(0, b"")
    return struct.pack("<II", 8 + len(body), 0) + body


def mmap_tag(*entries):
    return tag(6, struct.pack("<II", 24, 0) + b"".join(struct.pack("<QQII", *e, 0) for e in entries))


def efi_mmap_tag(*entries):
    return tag(17, struct.pack("<II", 48, 1) +
               b"".join(struct.pack("<IIQQQQQ", kind, 0, base, 0, pages, attr, 0)
                        for kind, base, pages, attr in entries))


def multiboot2_seeds():
    mmap = mmap_tag((0, 0x9fc00, 1), (0x9fc00, 0x400, 2), (0x100000, 0x3ff00000, 1),
                    (0x40000000, 0x10000, 3), (0x40010000, 0x10000, 4), (1 << 32, 1 << 30, 1))
    strings = tag(1, b"console=com1 after=poweroff\0") + tag(2, b"GRUB 2.06\0")
    modules = [tag(3, struct.pack("<II", base, base + size) + name + b"\0")
               for base, size, name in ((0x3000000, 0x1234, b"guests.conf"),
                                        (0x4000000, 0x800000, b"vmlinuz one two"),
                                        (0x5000000, 0, b""))]
    acpi = tag(14, b"RSD PTR " + bytes(12)) + tag(15, b"RSD PTR " + bytes(28))
    framebuffer = tag(8, struct.pack("<QIIIBBH", 0xfd000000, 4096, 1024, 768, 32, 1, 0) + bytes(6))
    sections = tag(9, struct.pack("<III", 2, 64, 1) + bytes(64) +
                   struct.pack("<IIQQQQIIQQ", 1, 1, 6, 0x100000, 0x1000, 0x2000, 0, 0, 16, 0))
    efi = efi_mmap_tag((7, 0x100000, 0x1000, 15), (3, 0x2000000, 16, 15), (9, 0x3000000, 4, 15),
                       (10, 0x3100000, 4, 15), (7, 0x4000000, 4, 15 | 1 << 63))
    yield multiboot2_info()
    yield multiboot2_info(strings, mmap, *modules, acpi)
    yield multiboot2_info(strings, efi, tag(12, bytes(8)), *modules, framebuffer, sections)
    yield multiboot2_info(mmap, efi, tag(18, b""))
    yield multiboot2_info(mmap_tag((0x100000, 1 << 40, 1), (1 << 63, 1 << 63, 1), (0x200000, 0, 1)),
                          *modules)
    yield multiboot2_info(strings)[:-8]
    yield multiboot2_info(tag(1, b"no end"), tag(3, b"short"), tag(6, b""), tag(17, b""))


def vcpu(code, mode=2, cr0=1, cr4=0x20, efer=0x500, cs=0x29b, tables=(), **gpr):
    """struct fuzz_input of fuzz_decode.c: flat segments, RAM in the first 64 KiB."""
    names = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")
    state = struct.pack("<B15s6B2x", mode + 3 * 15, code, 0, gpr.get("io", 0), len(code), 8, 0, 0)
    state += struct.pack("<16Q", *(gpr.get(name, 0x2000) for name in names), *range(8))
    state += struct.pack("<7QI", 0x1000, 2, cr0, 0, cr4, efer, 0, 0)
    for segment in range(6):
        state += struct.pack("<2IH2x", 0, 0xffffffff, cs if segment == 1 else 0x493)
    return state + bytes(4) + struct.pack("<64Q", *tables, *[0] * (64 - len(tables)))


def decode_seeds():
    device = 0xfee00000
    protected = {"mode": 1, "efer": 0, "cs": 0x49b}
    for code in ("8b03", "8903", "f00103", "668703", "0fb603", "4863c3", "0fab03", "f00fb10b", "c7030a000000",
                 "f348a5", "f3a6", "f2ae", "f3ab", "ad", "ff33", "8f03", "0f38f003", "a10000e0fe00000000"):
        code = bytes.fromhex(code)
        yield vcpu(code, rbx=device, rdi=device, rcx=3)
        yield vcpu(code, rbx=0xffff, rsi=0xfffc, rcx=300, **protected)
        # one table page that points to itself, writable and for users
        yield vcpu(code, cr0=0x80010001, tables=[7] * 64, rbx=8)
        yield vcpu(code, cr0=0x80010001, cr4=0, tables=[0x700000007] * 64, **protected)
    for code in ("6c", "f36e"):
        yield vcpu(bytes.fromhex(code), io=1, rcx=9)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: seeds.py DIR")
    corpora = {"fuzz_conf": conf_seeds, "fuzz_load": load_seeds, "fuzz_multiboot2": multiboot2_seeds,
               "fuzz_decode": decode_seeds}
    for name, seeds in corpora.items():
        where = pathlib.Path(sys.argv[1]) / name
        where.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (where / f"seed-{number:03}").write_bytes(seed)


if __name__ == "__main__":
    main()
