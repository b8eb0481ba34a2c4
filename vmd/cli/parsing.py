"""What the option handlers share: the configuration as it grows, and the text of list help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.cli.config import Config
from vmd.cli.report import Quit, Report
from vmd.options import HelpWanted, OptionList, Options, parse_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from qapi.schema import Schema


class Parsing:
    """The configuration as it grows, and what only the parser has to remember."""

    def __init__(self, config: Config, report: Report, load: Callable[[], Schema]) -> None:
        self.config = config
        self.report = report
        self.load_schema = load
        self.merged: dict[str, list[tuple[str, str]]] = {}
        self.ids: set[tuple[str, str]] = set()
        self.default_monitor = True
        self.monitors_seen = 0
        self.guest_name_in_messages = False

    def options(self, known: OptionList, where: str, text: str) -> Options:
        """The argument taken apart; merged lists come with all that was said before."""

        def warn(message: str, hint: str) -> None:
            self.report.warning(message, where, hint)

        try:
            options = parse_options(text, known, warn)
        except HelpWanted:
            raise Quit(1, list_help(known)) from None
        if known.merge:
            pairs = self.merged.setdefault(known.name, [])
            pairs.extend(options.pairs)
            return Options(None, tuple(pairs))
        self.take_id(known.name, options.id)
        return options

    def take_id(self, group: str, identifier: str | None) -> None:
        if identifier is not None:
            if (group, identifier) in self.ids:
                raise QmpError(f"Duplicate ID '{identifier}' for {group}")
            self.ids.add((group, identifier))


def list_help(known: OptionList) -> str:
    """What `help` as a parameter prints: the names of an option's parameters and their types."""
    words = {"bool": "bool (on/off)", "number": "num", "size": "size", "str": "str"}
    rows = [f"  {name}=<{words[kind]}>\n" for name, kind in sorted((known.kinds or {}).items())]
    return f"{known.name} options:\n" + "".join(rows)


def parse_json(text: str) -> object:
    """One JSON document, in QEMU's dialect and with its complaints."""
    from monitor.json import INCOMPLETE, JsonDecoder

    decoder = JsonDecoder()
    decoder.feed(text.encode(errors="surrogateescape"))
    value = decoder.next()
    if value is INCOMPLETE:
        value = decoder.end()
    if isinstance(value, Exception):
        raise QmpError(str(value))
    if value is INCOMPLETE:
        raise QmpError("JSON parse error, premature EOI")
    if decoder.end() is not INCOMPLETE:
        raise QmpError("Expecting at most one JSON value")
    return value
