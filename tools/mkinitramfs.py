#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes the initramfs of the guest that comes with Sluice: busybox and three small files.

    tools/mkinitramfs.py BUSYBOX FOLDER OUT

The files of FOLDER go to /etc.

The archive (cpio "newc", gzip) depends on its inputs only: no dates, no owners, no host directories.
"""
import gzip
import os
import stat
import sys

DIRECTORIES = ["bin", "dev", "etc", "proc", "root", "sys", "tmp"]


class Cpio:
    """Writes the "newc" format: kernel documentation, driver-api/early-userspace/buffer-format."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0

    def add(self, name, mode, body=b"", device=(0, 0)):
        self.inode += 1
        encoded = name.encode() + b"\0"
        fields = [self.inode, mode, 0, 0, 1, 0, len(body), 0, 0, *device, len(encoded), 0]
        self.data += b"070701" + b"".join(b"%08x" % f for f in fields) + encoded
        self.pad()
        self.data += body
        self.pad()

    def pad(self):
        self.data += bytes(-len(self.data) % 4)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    busybox, folder, out = sys.argv[1:]
    archive = Cpio()
    for name in DIRECTORIES:
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, read(busybox))
    archive.add("init", stat.S_IFLNK | 0o777, b"bin/busybox")
    for name in sorted(os.listdir(folder)):
        archive.add(f"etc/{name}", stat.S_IFREG | 0o644, read(os.path.join(folder, name)))
    archive.add("TRAILER!!!", 0)
    with open(out, "wb") as f:
        f.write(gzip.compress(bytes(archive.data), mtime=0))


if __name__ == "__main__":
    main()
