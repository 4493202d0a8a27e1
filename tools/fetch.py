#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Takes one file out of a package of the distribution, without installing the package.

    tools/fetch.py PACKAGE GLOB OUT

PACKAGE is downloaded by apt, which checks it against the signed index of the archive; a
meta-package is followed to the package it stands for. The one file that matches GLOB (a path in
the package, such as 'boot/vmlinuz-*') becomes OUT. Packages stay in build/pkg.
"""
import fnmatch
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile

CACHE = os.path.join("build", "pkg")
# The archive's signatures are what makes the download trustworthy: never do without.
APT = ["-q", "-o", "APT::Get::AllowUnauthenticated=false",
       "-o", "Acquire::AllowInsecureRepositories=false",
       "-o", "APT::Sandbox::User=root"]


def run(*cmd, **kwargs):
    return subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **kwargs)


def refresh_lists():
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    done = run(*sudo, "apt-get", "-q", "update")
    if done.returncode != 0:
        sys.exit(f"apt-get update failed:\n{done.stdout}")


def real_package(package):
    """The package that a meta-package such as linux-image-cloud-amd64 stands for, or itself."""
    shown = run("apt-cache", "depends", package)
    if shown.returncode != 0 or package not in shown.stdout:
        return None
    stem = package.split("-amd64")[0].rsplit("-cloud", 1)[0]
    for name in re.findall(r"Depends: (\S+)", shown.stdout):
        if name.startswith(stem + "-") and re.search(r"\d+\.\d+", name):
            return name
    return package


def download(package):
    """Returns the path of the package's file, or None when apt could not get it."""
    os.makedirs(CACHE, exist_ok=True)
    got = run("apt-get", *APT, "download", package, cwd=CACHE)
    if got.returncode != 0:
        return None, got.stdout
    files = [f for f in os.listdir(CACHE) if f.startswith(package + "_") and f.endswith(".deb")]
    newest = max((os.path.join(CACHE, f) for f in files), key=os.path.getmtime)
    return newest, ""


def get(package):
    """Downloads, once more with fresh package lists when they were missing or outdated."""
    for attempt in range(2):
        name = real_package(package)
        why = f"apt knows no package {package}"
        if name:
            deb, why = download(name)
            if deb:
                return deb
        if attempt == 0:
            refresh_lists()
    sys.exit(f"could not download {package}:\n{why}")


def extract(deb, pattern, out):
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as files:
        found = [m for m in files.getmembers() if m.isreg() and fnmatch.fnmatch(m.name.lstrip("./"), pattern)]
        if len(found) != 1:
            sys.exit(f"{deb}: {len(found)} files match {pattern}, expected one")
        os.makedirs(os.path.dirname(out), exist_ok=True)
        with open(out + ".part", "wb") as f:
            shutil.copyfileobj(files.extractfile(found[0]), f)
        os.chmod(out + ".part", found[0].mode & 0o755)
    os.replace(out + ".part", out)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    package, pattern, out = sys.argv[1:]
    deb = get(package)
    extract(deb, pattern, out)
    print(f"  {'FETCH':<7} {out} from {os.path.basename(deb)}")


if __name__ == "__main__":
    main()
