"""What TAB offers: names of commands and of what their arguments may be.

Observed from monitor/hmp.c of QEMU 10.0.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from monitor.readline import Completion
from monitor.scanner import BLANKS, from_bytewise, split_words, to_bytewise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from monitor.hmp import CommandTable, Hmp, HmpCommand

MAX_WORDS = 16


class LastPiece:
    """A completer of the part behind the last `separator` of a word (`ctrl-alt-del`)."""

    __slots__ = ("names", "separator")

    def __init__(self, separator: str, names: Callable[[Any, str], Iterable[str]]) -> None:
        self.separator = separator
        self.names = names

    def __call__(self, machine: object, prefix: str) -> Iterable[str]:
        return self.names(machine, prefix)


def complete(hmp: Hmp, before_cursor: str, helpful: bool = False) -> Completion:
    """The candidates for the word that ends at the cursor.

    `helpful`: also where QEMU offers none (a parameter's values, addresses, paths, flags).
    """
    line = to_bytewise(before_cursor)
    split = split_words(line, hmp.registry.surroundings.console, MAX_WORDS)
    if split is None:
        return Completion()
    words = [from_bytewise(word) for word in split]
    if line and line[-1] in BLANKS:
        if len(words) == MAX_WORDS:
            return Completion()
        words.append("")
    return _by_table(hmp, hmp.registry.table, words)


def _by_table(hmp: Hmp, table: CommandTable, words: list[str]) -> Completion:
    """The candidates for the last of `words`, the first of which names a command of `table`."""
    preconfig = hmp.preconfig()
    if len(words) <= 1:
        available = (c for c in table.commands if c.preconfig or not preconfig)
        names = (name for command in available for name in command.names)
        return _matching(words[0] if words else "", names)
    command = table.find(words[0])
    if command is None or (preconfig and not command.preconfig):
        return Completion()
    if command.subcommands is not None:
        return _by_table(hmp, command.subcommands, words[1:])
    if command.complete:
        return _by_completer(hmp, command, words)
    letter = _letter_at(command, len(words) - 1)
    if letter == "F":
        return _matching(words[-1], _files(words[-1]))
    if letter == "B":
        return _matching(words[-1], hmp.registry.block_names(hmp.machine))
    if "help" in command.names and letter == "S":
        return _by_table(hmp, hmp.registry.table, words[1:])
    return Completion()


def _by_completer(hmp: Hmp, command: HmpCommand, words: list[str]) -> Completion:
    completer = command.complete.get(len(words) - 1)
    if completer is None:
        return Completion()
    prefix = words[-1]
    if isinstance(completer, LastPiece):
        prefix = prefix.rpartition(completer.separator)[2]
    return _matching(prefix, completer(hmp.machine, prefix))


def _letter_at(command: HmpCommand, place: int) -> str:
    """The type of the place-th word; behind the last argument there is no end.

    Words before it count one argument each, be they flags or not; flags that were not given are
    then passed over.
    """
    letters = [parameter.letter for parameter in command.parameters]
    if not letters:
        return ""
    place = min(place - 1, len(letters) - 1)
    while letters[place] == "-" and place + 1 < len(letters):
        place += 1
    return letters[place]


def _matching(prefix: str, names: Iterable[str]) -> Completion:
    found = [_bytes(name) for name in names if name.startswith(prefix)]
    return Completion(len(_bytes(prefix)), found)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _files(typed: str) -> Iterable[str]:
    """The entries of the directory that `typed` is in, as they would be typed on."""
    directory, slash, _ = typed.rpartition("/")
    path = directory + slash
    try:
        with os.scandir(path or ".") as entries:
            return [f"{path}{e.name}/" if e.is_dir() else f"{path}{e.name}" for e in entries]
    except OSError:
        return ()


def usage(hmp: Hmp, line: str) -> str:
    """The command being typed, its arguments, and what it does; empty if the line names none."""
    words = split_words(to_bytewise(line), ignore, MAX_WORDS) or []
    names = [from_bytewise(word) for word in words]
    table: CommandTable | None = hmp.registry.table
    path, command = "", None
    while names and table is not None:
        found = table.find(names.pop(0))
        if found is None or (hmp.preconfig() and not found.preconfig):
            break
        command, path = found, f"{path}{found.name} "
        table = found.subcommands
    if command is None:
        return ""
    shape = f"{path}{command.params}".rstrip()
    return f"{shape}  {command.help.partition(chr(10))[0]}"


def ignore(text: str) -> None:
    """What QEMU would say on its own stdout about a line that is not finished."""
