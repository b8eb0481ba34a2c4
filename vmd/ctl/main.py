"""`vmdctl`: looks into state files.

Exit status: 0 all well, 1 the state file is broken, 2 it cannot be read or was asked for wrongly.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from vmd.ctl.files import StateFile, Unreadable
from vmd.ctl.show import document, explain, fields, report
from vmd.ctl.survey import survey
from vmd.options import parse_option_size
from vmd.version import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTION = "Look into the state files of virtual machines, vmd's and QEMU's."
FILES = """\
FILE is what `migrate file:FILE` or `exec:cat > FILE` of vmd or QEMU has written, a mapped-ram file
included, or what `virsh save` has. gzip, bzip2 and xz are undone on the way.
"""
EXAMPLES = """\
examples:
  vmdctl inspect vm.state                   what is in it
  vmdctl inspect --fields='*rtc*' vm.state  and what the clock says
  vmdctl inspect --json vm.state | jq .ram
  vmdctl verify vm.state && ...             only if a receiver would take it

exit status: 0 all well; 1 the stream breaks somewhere; 2 the file cannot be read
"""


def main() -> None:
    """Entry point of the `vmdctl` command."""
    for output in (sys.stdout, sys.stderr):  # a damaged name is any bytes
        assert isinstance(output, TextIOWrapper)
        output.reconfigure(errors="backslashreplace")
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 0
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """One call; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        file = StateFile(options.file, options.offset)
        try:
            return (
                _verify(options, file) if options.command == "verify" else _inspect(options, file)
            )
        finally:
            file.close()
    except BrokenPipeError:
        raise
    except (OSError, Unreadable) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        print(f"vmdctl: {options.file}: {text}", file=sys.stderr)
        return 2


def _inspect(options: argparse.Namespace, file: StateFile) -> int:
    found = survey(file)
    told = document(options.file, file, found)
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        for line in report(told):
            print(line)
        for line in fields(told, options.fields) if options.fields else ():
            print(line)
        if found.broken is not None:
            print("\n".join(explain(options.file, found.broken)), file=sys.stderr)
    return 1 if found.broken is not None else 0


def _verify(options: argparse.Namespace, file: StateFile) -> int:
    found = survey(file, strict=True, machine=options.machine)
    if options.json:
        error = document(options.file, file, found)["error"]
        print(json.dumps({"file": options.file, "loads": error is None, "error": error}, indent=2))
    elif found.broken is None:
        for line in found.notices:
            print(f"{options.file}: {line}")
        print(f"{options.file}: a receiver like its source takes it")
    else:
        print("\n".join(explain(options.file, found.broken)))
    return 1 if found.broken is not None else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "vmdctl",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=PACKAGE)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, more in (
        (
            "inspect",
            "tell what is in a state file",
            "Tell who wrote a state file, which pages of RAM are in it, and its device sections.",
        ),
        (
            "verify",
            "say whether a receiver would take a state file, or where it breaks",
            "Read a state file as a receiver would that is like its source (same machine, same"
            " RAM, same capabilities): say whether it takes it, or at which offset, in which"
            " section and why it does not, in QEMU's own words.",
        ),
    ):
        command = commands.add_parser(name, help=text, description=f"{more} {FILES}")
        command.add_argument("file", metavar="FILE")
        command.add_argument("--json", action="store_true", help="for programs: one JSON object")
        command.add_argument(
            "--offset",
            type=_size,
            default=0,
            metavar="SIZE",
            help="where the stream begins in the file, as in file:FILE,offset=SIZE (0)",
        )
        if name == "verify":
            command.add_argument(
                "--machine",
                metavar="TYPE",
                help="the receiver's machine type, as pc-q35-10.0 (the same as the source's)",
            )
        else:
            command.add_argument(
                "--fields",
                metavar="PATTERN",
                help="also tell the fields of the device sections whose name matches (* for all)",
            )
    return parser


def _size(text: str) -> int:
    from qapi.error import QmpError

    try:
        return parse_option_size("offset", text)
    except QmpError as error:
        raise argparse.ArgumentTypeError(error.desc) from None


if __name__ == "__main__":
    main()
