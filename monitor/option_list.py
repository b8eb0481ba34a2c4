"""`a,b=c` as the human monitor reads it for device_add and netdev_add: QEMU's old option lists.

Observed from util/qemu-option.c of QEMU 10.0. What it complains about goes to the process's stderr.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

_VALUE = re.compile(r"(?:[^,]|,,)*", re.DOTALL)
_NAME = re.compile(r"[^=,]*")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9\-._]*\Z")

IDENTIFIER_HINT = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."


class OptionError(Exception):
    """The list is refused; the message may have a second line."""


def parse_option_list(
    text: str, implied: str, group: str, taken: Container[str], warn: Callable[[str], None]
) -> dict[str, str]:
    """Names and values, the last of a repeated name winning; `implied` names a bare first value.

    A later bare name is a boolean (`foo`: on, `nofoo`: off), of which `warn` is told. Of `id` the
    first counts; OptionError unless it is an identifier that is not among `taken`, those of the
    group's earlier options.
    """
    options: dict[str, str] = {}
    # The id is looked for before the list has an implied name, so `id` alone sets it to "on".
    identifiers = (value for name, value in _options(text, None, _ignore) if name == "id")
    identifier = next(identifiers, None)
    if identifier is not None:
        if not _IDENTIFIER.match(identifier):
            raise OptionError(f"Parameter 'id' expects an identifier\n{IDENTIFIER_HINT}")
        if identifier in taken:
            raise OptionError(f"Duplicate ID '{identifier}' for {group}")
        options["id"] = identifier
    for name, value in _options(text, implied, warn):
        if name != "id":
            options[name] = value
    return options


def _options(
    text: str, implied: str | None, warn: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        name_match = _NAME.match(text, position)
        assert name_match is not None
        if text[name_match.end() : name_match.end() + 1] == "=":
            value, end = _value(text, name_match.end() + 1)
            yield name_match[0], value
        elif position == 0 and implied is not None:
            value, end = _value(text, 0)
            yield implied, value
        else:
            end = name_match.end()
            yield _flag(name_match[0], warn)
        position = end + 1  # the comma


def _ignore(warning: str) -> None:
    pass


def _value(text: str, start: int) -> tuple[str, int]:
    """A value up to the next single comma (two stand for one), and where it ends."""
    match = _VALUE.match(text, start)
    assert match is not None
    return match[0].replace(",,", ","), match.end()


def _flag(name: str, warn: Callable[[str], None]) -> tuple[str, str]:
    bare, value = (name[2:], "off") if name.startswith("no") else (name, "on")
    if name not in ("help", "?"):
        # QEMU's advice for this one option is to use its opposite
        advice = f"nodelay={'off' if value == 'on' else 'on'}" if bare == "delay" else ""
        warn(
            f"warning: short-form boolean option '{name}' deprecated\n"
            f"Please use {advice or f'{bare}={value}'} instead"
        )
    return bare, value
