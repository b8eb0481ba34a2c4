"""The table of virsh commands in docs/libvirt.md: complete, and what it says is so.

All of it is asked anew by `python -m tests.clients.libvirt.matrix`; here only the commands that
leave a domain as it is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.clients.libvirt.matrix import LOOKING, ROWS, WORKS, Bench, commands_of_virsh, recorded
from tests.differential.stage import find_vmd

if TYPE_CHECKING:
    from tests.clients.libvirt.host import Host


def test_no_command_is_left_out(host: Host) -> None:
    assert {row.command for row in ROWS} == set(commands_of_virsh(host))


def test_what_the_table_says_of_commands_that_look_is_so(host: Host, emulator: str) -> None:
    name = "vmd" if emulator == find_vmd().argv[0] else "qemu"
    rows = [row for row in ROWS if row.command in LOOKING.split()]
    found = Bench(host, emulator, f"mx{os.getpid()}-{name}").run(rows)
    said = recorded()[name]
    differs = {c: (found[c], said[c]) for c in found if (found[c] == WORKS) != (said[c] == WORKS)}
    assert not differs, "python -m tests.clients.libvirt.matrix asks again"
