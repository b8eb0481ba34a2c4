"""argv → Config. Two passes, as in QEMU: first every option must exist and have its argument, then
each does its work in order; what nobody asked for is filled in last. From system/vl.c.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.cli.chardev_handlers import add_monitor
from vmd.cli.config import Config, PortRequest
from vmd.cli.parsing import Parsing
from vmd.cli.report import Quit, Report
from vmd.cli.table import OPTIONS, Option
from vmd.devices.machines import find_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qapi.schema import Schema

VC = "vc:80Cx24C"


def load_schema() -> Schema:
    import qapi

    return qapi.load()


def program_name(argv: Sequence[str]) -> str:
    """What stands in front of every message: the last part of the path we were called by."""
    return os.path.basename(argv[0]) if argv else "vmd"


def parse(
    argv: Sequence[str], report: Report | None = None, load: Callable[[], Schema] = load_schema
) -> Config:
    """The configuration that a command line (with the program's name in front) describes.

    Raises Quit after `report` was told what is wrong, or with the text that an option like -version
    prints. `load` gives the schema; it is called only where an option needs it.
    """
    report = report or Report(program_name(argv))
    config = Config(report.program)
    state = Parsing(config, report, load)
    for option, where, argument in _scan(argv, report):
        with report.at(where):
            option.handle(state, where, argument)
    _fill_in_defaults(state)
    return config


def _scan(argv: Sequence[str], report: Report) -> list[tuple[Option, str, str]]:
    """(option, how it was written, its argument) for each; Quit where one is wrong.

    A word that is no option is a disk image, as in QEMU.
    """
    found: list[tuple[Option, str, str]] = []
    words = iter(argv[1:])
    for word in words:
        if word[:1] != "-":
            found.append((OPTIONS["hda"], word, word))
            continue
        option = OPTIONS.get(word.removeprefix("-").removeprefix("-"))
        if option is None:
            raise report.refuse(QmpError("invalid option"), word)
        if not option.takes_argument:
            found.append((option, word, ""))
            continue
        argument = next(words, None)
        if argument is None:
            raise report.refuse(QmpError("requires an argument"), word)
        found.append((option, f"{word} {argument}", argument))
    return found


def _fill_in_defaults(state: Parsing) -> None:
    """The monitor and the ports that a machine has when nobody spoke of them."""
    config = state.config
    if not config.defaults:
        return
    machine = find_machine(config.machine_tree)
    is_pc = machine is not None and machine.is_pc
    brought = {device.options.get("driver") for device in config.devices}
    has_serial = is_pc and not config.serials and "isa-serial" not in brought
    has_parallel = is_pc and not config.parallels and "isa-parallel" not in brought
    something = has_serial or has_parallel or state.default_monitor
    config.on_terminal = config.nographic and something
    muxed = config.nographic and has_serial and state.default_monitor
    if has_serial:
        text = ("mon:stdio" if muxed else "stdio") if config.nographic else VC
        config.serials.append(PortRequest("", text))
    if has_parallel:
        config.parallels.append(PortRequest("", "null" if config.nographic else VC))
    if state.default_monitor and not muxed:
        try:
            add_monitor(state, "", "stdio" if config.nographic else VC, "readline")
        except QmpError as error:
            raise state.report.refuse(error) from None


__all__ = ["Quit", "parse", "program_name"]
