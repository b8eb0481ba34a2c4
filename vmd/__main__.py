"""`vmd`: QEMU's command line, one daemon."""

from __future__ import annotations

import _thread
import gc
import io
import os
import sys
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.cli.parse import parse, program_name
from vmd.cli.report import Quit, Report
from vmd.cli.tracing import make_tracer

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.cli.config import Config
    from vmd.cli.pidfile import PidFile
    from vmd.trace import Tracer


def main() -> None:
    """Entry point of the `vmd` command: ends the process with QEMU's exit code."""
    gc.disable()  # a start makes little garbage, and looking for it costs a tenth of its time
    if isinstance(sys.stderr, io.TextIOWrapper):  # names of the host are told as they are
        sys.stderr.reconfigure(errors="surrogateescape")
    report = Report(program_name(sys.argv))
    try:
        config = parse(sys.argv, report)
        code = _serve(config, report)
    except Quit as end:
        sys.stdout.write(end.output)
        code = end.status
    sys.stdout.flush()
    sys.stderr.flush()
    if _thread._count():
        # Threads that nobody waits for (a disk that does not answer, an import that nobody needs
        # any more) must not run while the interpreter is taken down.
        os._exit(code)
    sys.exit(code)


def _serve(config: Config, report: Report) -> int:
    """Go to the background if asked to, take the pid file, and live on an event loop."""
    background = None
    if config.daemonize and config.on_terminal:
        raise report.refuse(QmpError("-nographic cannot be used with -daemonize"))
    tracer = make_tracer(config, report)
    if config.daemonize:
        from vmd.cli.daemonize import fork

        background = fork()
    pidfile = _take_pidfile(config, report)
    _prepare_process(config, report)

    def ready() -> None:
        gc.freeze()  # what is there now will stay
        gc.enable()
        if background is not None:
            background.detach(tracer.log.file)

    try:
        return _run(config, report, tracer, ready)
    finally:
        if pidfile is not None:
            pidfile.remove()


def _take_pidfile(config: Config, report: Report) -> PidFile | None:
    if config.pidfile is None:
        return None
    from vmd.cli.pidfile import PidFile

    with report.at(""):
        return PidFile(config.pidfile)


def _prepare_process(config: Config, report: Report) -> None:
    """What options ask of the process."""
    if config.process_name is not None or config.memory_lock != "off":
        from vmd.cli import process

        with report.at(""):
            if config.process_name is not None:
                process.set_process_name(config.process_name)
            if config.memory_lock != "off":
                process.lock_memory(config.memory_lock)


def _run(config: Config, report: Report, tracer: Tracer, ready: Callable[[], None]) -> int:
    from vmd.cli.loop import import_asyncio

    asyncio = import_asyncio()
    from vmd.cli.daemon import Daemon
    from vmd.cli.headroom import keep_back

    async def run() -> int:
        keep_back(asyncio.get_running_loop())
        return await Daemon(config, report, tracer).run(ready)

    code: int = asyncio.run(run())
    return code


if __name__ == "__main__":
    main()
