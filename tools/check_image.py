#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks a linked image: nothing both writable and executable, and small enough.

    tools/check_image.py ELF [MAX_KIB]

Prints the loaded size. The size is that of the loaded segments without .bss.
"""
import struct
import sys

PT_LOAD = 1
PF_X, PF_W = 1, 2
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4


def unpack(fmt, data, offset):
    return struct.unpack_from("<" + fmt, data, offset)


def segments(data):
    (phoff,) = unpack("Q", data, 0x20)
    entsize, count = unpack("HH", data, 0x36)
    for i in range(count):
        kind, flags, _off, vaddr, _pa, filesz, memsz, _align = unpack("IIQQQQQQ", data, phoff + i * entsize)
        yield kind, flags, vaddr, filesz, memsz


def sections(data):
    (shoff,) = unpack("Q", data, 0x28)
    entsize, count, strndx = unpack("HHH", data, 0x3A)
    (names,) = unpack("Q", data, shoff + strndx * entsize + 0x18)
    for i in range(count):
        name, _kind, flags, addr = unpack("IIQQ", data, shoff + i * entsize)
        end = data.index(b"\0", names + name)
        yield data[names + name:end].decode(), flags, addr


def main():
    path = sys.argv[1]
    limit = int(sys.argv[2]) * 1024 if len(sys.argv) > 2 else None
    with open(path, "rb") as f:
        data = f.read()
    if data[:6] != b"\x7fELF\x02\x01":
        sys.exit(f"{path}: not a little-endian 64-bit ELF file")
    bad = []
    loaded = 0
    for kind, flags, vaddr, filesz, _memsz in segments(data):
        if kind == PT_LOAD:
            loaded += filesz
        if flags & PF_W and flags & PF_X:
            bad.append(f"{path}: segment at {vaddr:#x} is writable and executable")
    for name, flags, addr in sections(data):
        if flags & SHF_ALLOC and flags & SHF_WRITE and flags & SHF_EXECINSTR:
            bad.append(f"{path}: section {name} at {addr:#x} is writable and executable")
    if limit is not None and loaded > limit:
        bad.append(f"{path}: {loaded} bytes are loaded, the limit is {limit}")
    if bad:
        sys.exit("\n".join(bad))
    print(f"{path}: {loaded / 1024:.1f} KiB loaded, no segment or section both writable and executable")


if __name__ == "__main__":
    main()
