#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Boots an ISO in QEMU with the serial line on this terminal: what `make run` ends in.

    tools/run.py ISO [--firmware bios|uefi] [--cpu MODEL] [--smp N] [--mem SIZE]
"""
import argparse
import os
import sys

import qemu


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("iso")
    parser.add_argument("--firmware", default="bios")
    parser.add_argument("--cpu", default="max")
    parser.add_argument("--smp", default="1")
    parser.add_argument("--mem", default="2G")
    args = parser.parse_args()

    accel, why = qemu.accelerator()
    try:
        command = qemu.command(iso=args.iso, firmware=args.firmware, cpu=args.cpu, smp=args.smp, mem=args.mem,
                               accel=accel, state=os.path.dirname(args.iso) or ".")
    except ValueError as error:
        sys.exit(str(error))
    # Every key goes down the line, Ctrl-C too; so the way out is Sluice's own `poweroff`.
    command += ["-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line", "-monitor", "none"]
    print({"kvm": f"Running on KVM: {why}.", "tcg": f"Running on emulation (TCG): {why}."}[accel])
    print("This terminal is the serial line. To leave: Ctrl-] and then `poweroff`.", flush=True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
