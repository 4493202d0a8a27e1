# SPDX-License-Identifier: BSD-2-Clause
"""The QEMU machine that Sluice runs on, for `make run` and for the boot tests."""
import fcntl
import os
import shutil

KVM_GET_API_VERSION = 0xAE00
OVMF = "/usr/share/OVMF"
# What this version of Sluice can drive; VMX will join.
DRIVEN = {"svm"}


def kvm_works():
    """None when /dev/kvm can be used, else why not."""
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/kvm cannot be opened: {error.strerror}"
    try:
        if fcntl.ioctl(fd, KVM_GET_API_VERSION) != 12:
            return "/dev/kvm has another API version"
    except OSError as error:
        return f"/dev/kvm does not answer: {error.strerror}"
    finally:
        os.close(fd)
    return None


def nested(extension):
    """True when KVM hands this virtualisation extension on to its guests."""
    module = {"svm": "kvm_amd", "vmx": "kvm_intel"}[extension]
    try:
        with open(f"/sys/module/{module}/parameters/nested", encoding="ascii") as f:
            return f.read().strip() in ("1", "Y", "y")
    except OSError:
        return False


def accelerator():
    """("kvm" or "tcg", why)."""
    why = kvm_works()
    if why:
        return "tcg", why
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        flags = set(next((line for line in f if line.startswith("flags")), "").split())
    for extension in ("svm", "vmx"):
        if extension not in flags:
            continue
        if not nested(extension):
            return "tcg", f"KVM does not offer nested virtualisation here ({extension}, nested=0)"
        if extension not in DRIVEN:
            return "tcg", f"KVM offers {extension.upper()}, which this version of Sluice does not drive"
        return "kvm", f"KVM offers nested {extension.upper()}"
    return "tcg", "this machine's processors have neither SVM nor VMX"


def cpu_model(name, accel):
    """QEMU's -cpu for our CPU variable: svm, vmx, max, or any model of QEMU's."""
    if name == "vmx":
        raise ValueError("CPU=vmx: this version of Sluice drives SVM only, and QEMU emulates no VMX")
    if name in ("svm", "max"):
        return "host" if accel == "kvm" else "max"
    return name


def command(*, iso, firmware="bios", cpu="max", smp="1", mem="2G", accel="tcg", state=None, media="cd",
            icount=False):
    """QEMU's command line without the serial line. `state`: folder for the firmware's variables.

    `icount`: virtual time counts instructions, one a nanosecond, and runs ahead when all is idle.
    """
    if firmware not in ("bios", "uefi"):
        raise ValueError(f"FIRMWARE={firmware}: bios or uefi")
    args = ["qemu-system-x86_64", "-machine", f"q35,accel={accel}", "-cpu", cpu_model(cpu, accel), "-smp", str(smp),
            "-m", str(mem), "-display", "none", "-nic", "none"]
    if icount:
        args += ["-icount", "shift=0,sleep=off"]
    if firmware == "uefi":
        variables = os.path.join(state, "OVMF_VARS.fd")
        shutil.copy(f"{OVMF}/OVMF_VARS_4M.fd", variables)
        args += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd",
                 "-drive", f"if=pflash,format=raw,file={variables}"]
    if media == "cd":
        args += ["-cdrom", iso]
    else:
        args += ["-drive", f"if=none,id=stick,format=raw,readonly=on,file={iso}", "-device", "qemu-xhci",
                 "-device", "usb-storage,drive=stick,bootindex=1"]
    return args
