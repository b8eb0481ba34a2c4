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
    found = _by_table(hmp, hmp.registry.table, words)
    return found if found.candidates or not helpful else _by_hint(hmp, words)


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
        return _matching(words[-1], files(words[-1]))
    if letter == "B":
        return _matching(words[-1], hmp.registry.block_names(hmp.machine))
    if "help" in command.names and letter == "S":
        return _by_table(hmp, hmp.registry.table, words[1:])
    return Completion()


def _by_hint(hmp: Hmp, words: list[str]) -> Completion:
    """What a person may want where QEMU offers nothing: see HmpRegistry's `hints`."""
    table: CommandTable | None = hmp.registry.table
    command = None
    while len(words) > 1 and table is not None:
        command, words = table.find(words[0]), words[1:]
        table = command.subcommands if command is not None else None
    if command is None or (hmp.preconfig() and not command.preconfig):
        return Completion()
    if words[-1].startswith("-"):
        flags = [f"-{it.flag}" for it in command.parameters if it.letter == "-"]
        return _matching(words[-1], flags)
    typed = [word for word in words[:-1] if not word.startswith("-")] + words[-1:]
    hint = hmp.registry.hints().get(command.names[0], {}).get(len(typed))
    if hint is None:
        return Completion()
    return _matching(words[-1], hint(hmp.machine, typed), unfinished=("=", ":"))


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


def _matching(prefix: str, names: Iterable[str], unfinished: tuple[str, ...] = ()) -> Completion:
    """Those that begin so; the only one ends its word, unless it ends in what is `unfinished`."""
    found = [name for name in names if name.startswith(prefix)]
    open_end = len(found) == 1 and found[0].endswith(unfinished)
    return Completion(len(_bytes(prefix)), [_bytes(name) for name in found], open_end)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def files(typed: str) -> Iterable[str]:
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
