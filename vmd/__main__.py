"""`vmd`: QEMU's command line, one daemon."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vmd.cli.parse import parse, program_name
from vmd.cli.report import Quit, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.cli.config import Config


def main() -> None:
    """Entry point of the `vmd` command: ends the process with QEMU's exit code."""
    report = Report(program_name(sys.argv))
    try:
        config = parse(sys.argv, report)
        code = _serve(config, report)
    except Quit as end:
        sys.stdout.write(end.output)
        code = end.status
    sys.stdout.flush()
    sys.exit(code)


def _serve(config: Config, report: Report) -> int:
    from vmd.cli.loop import import_asyncio

    asyncio = import_asyncio()
    from vmd.cli.daemon import Daemon

    async def run(ready: Callable[[], None]) -> int:
        return await Daemon(config, report).run(ready)

    code: int = asyncio.run(run(lambda: None))
    return code


if __name__ == "__main__":
    main()
