"""`-trace`, `-d` and `-D`: which events are logged, and where.

Observed from trace/control.c and util/log.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import qapi
from vmd.cli.report import Quit
from vmd.options import HELP_WORDS
from vmd.trace import Log, Tracer

if TYPE_CHECKING:
    from vmd.cli.config import Config
    from vmd.cli.parsing import Parsing
    from vmd.cli.report import Report

LOG_HELP = (
    "Log items (comma separated):\n"
    "trace:PATTERN   enable trace events\n\n"
    'Use "-d trace:help" to get a list of trace events.\n\n'
)


def make_tracer(config: Config, report: Report) -> Tracer:
    """Open the log and switch on what the command line asks for; Quit where that cannot be."""
    log = Log()
    log.timestamps = report.timestamps
    tracer = Tracer(log, _command_names)
    for pattern in config.trace:
        tracer.enable(pattern)
    if config.log_items is not None:
        _enable_items(tracer, config.log_items, report)
    with report.at(""):
        for path in (config.logfile, config.trace_file):
            if path is not None:
                log.open(path)
    return tracer


def enable(state: Parsing, where: str, pattern: str | None) -> None:
    """`-trace PATTERN`: judged at once, done once there is a log."""
    if pattern is None:
        return
    if pattern in HELP_WORDS:
        raise Quit(0, _event_list())
    warning = Tracer(commands=_command_names).enable(pattern)
    if warning is not None:
        state.report.warning(warning, where)
    state.config.trace.append(pattern)


def enable_from_file(state: Parsing, path: str | None) -> None:
    """`-trace events=FILE`: a pattern a line, `#` begins a comment."""
    if path is None:
        return
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            lines = file.read().split("\n")
    except OSError as error:
        state.report.write(f"{state.report.program}:{path}: {error.strerror}\n")
        raise Quit(1) from None
    tracer = Tracer(commands=_command_names)
    for number, pattern in enumerate(lines, start=1):
        if pattern and not pattern.startswith("#"):
            warning = tracer.enable(pattern)
            if warning is not None:
                state.report.warning(warning, line=f"{path}:{number}")
            state.config.trace.append(pattern)


def _enable_items(tracer: Tracer, items: str, report: Report) -> None:
    for item in items.split(","):
        kind, _, pattern = item.partition(":")
        if kind != "trace" or not pattern:
            raise Quit(1, LOG_HELP)
        if pattern in HELP_WORDS:
            raise Quit(0, _event_list())
        warning = tracer.enable(pattern)
        if warning is not None:
            report.warning(warning)


def _event_list() -> str:
    return "".join(f"{name}\n" for name in Tracer(commands=_command_names).names())


def _command_names() -> list[str]:
    return list(qapi.load().commands)
