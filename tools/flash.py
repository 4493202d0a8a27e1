#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the ISO to a stick, after a look at where it goes: what `make flash` does.

    tools/flash.py ISO /dev/sdX
"""
import hashlib
import os
import stat
import subprocess
import sys

SECTOR = 512


def sysfs(name, attribute):
    try:
        with open(f"/sys/class/block/{name}/{attribute}", encoding="ascii", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return ""


def mounts_of(name):
    """Where the disk or one of its partitions is mounted or used as swap."""
    parts = {name} | {p for p in os.listdir(f"/sys/class/block/{name}") if os.path.exists(f"/sys/class/block/{p}/partition")}
    numbers = {sysfs(p, "dev") for p in parts}
    used = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
        for line in f:
            fields = line.split()
            if fields[2] in numbers:
                used.append(fields[4])
    with open("/proc/swaps", encoding="utf-8") as f:
        used += ["swap" for line in f if os.path.basename(line.split()[0]) in parts]
    for part in parts:
        holders = f"/sys/class/block/{part}/holders"
        used += os.listdir(holders) if os.path.isdir(holders) else []
    return used


def check(device):
    """The disk's kernel name. Ends the program with the reason when it must not be written to."""
    if not device:
        sys.exit("Say which stick: make flash DEV=/dev/sdX")
    try:
        mode = os.stat(device).st_mode
    except OSError as error:
        sys.exit(f"{device}: {error.strerror}")
    if not stat.S_ISBLK(mode):
        sys.exit(f"{device}: not a disk")
    name = os.path.basename(os.path.realpath(device))
    if os.path.exists(f"/sys/class/block/{name}/partition"):
        sys.exit(f"{device}: a partition; name the whole disk")
    if sysfs(name, "removable") != "1":
        sys.exit(f"{device}: not a removable disk")
    if sysfs(name, "ro") == "1":
        sys.exit(f"{device}: write-protected")
    used = mounts_of(name)
    if used:
        sys.exit(f"{device}: in use ({', '.join(used)})")
    return name


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    iso, device = sys.argv[1:]
    name = check(device)
    size = int(sysfs(name, "size") or 0) * SECTOR
    length = os.path.getsize(iso)
    if size < length:
        sys.exit(f"{device}: {size} bytes, the ISO has {length}")
    model = " ".join((sysfs(name, "device/vendor") + " " + sysfs(name, "device/model")).split())
    print(f"{device}: {model or 'unknown model'}, {size / 1e9:.1f} GB")
    print(f"Everything on it will be lost; {iso} ({length / 1e6:.0f} MB) takes its place.")
    try:
        answer = input(f"Type {name} to go on: ")
    except EOFError:
        answer = ""
    if answer.strip() != name:
        sys.exit("Nothing was written.")
    check(device)  # it may have been mounted while we asked
    subprocess.run(["dd", f"if={iso}", f"of={device}", "bs=4M", "conv=fsync", "oflag=dsync",
                    "status=progress"], check=True)
    with open(iso, "rb") as f:
        want = hashlib.sha256(f.read()).hexdigest()
    with open(device, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        got = hashlib.sha256(f.read(length)).hexdigest()
    if got != want:
        sys.exit(f"{device}: reads back differently from what was written")
    print(f"{device}: written and read back.")


if __name__ == "__main__":
    main()
