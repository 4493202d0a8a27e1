# SPDX-License-Identifier: BSD-2-Clause
"""What exits cost: boots the guest `bench` under QEMU, where the virtual clock counts instructions."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "boot"))
from suite import boot, guest  # noqa: E402

LINE = re.compile(r"bench: ([a-z0-9-]+) ([a-z]+) (\d+)\r?\n")


def exits():
    """{(kind, paging): instructions per exit}; each is the same in every run."""
    conf = guest("bench", "bench", memory="128M")
    with boot("bench", conf, ["bench"], cmdline="after=poweroff", icount=True) as m:
        m.expect(r"guest bench: exited, status 0\r?\n")
        m.ends()
        return {(kind, paging): int(n) for kind, paging, n in LINE.findall(m.text)}


if __name__ == "__main__":
    for (kind, paging), n in exits().items():
        print(f"{kind:20} {paging:8} {n:10}")
