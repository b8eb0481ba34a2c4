"""The two languages of QEMU's option arguments, as data: option lists and keyval trees.

An *option list* (`-chardev socket,id=a,server=on`) is flat, knows the types of its parameters and
still takes short-form booleans. A *keyval* (`-machine none,memory.size=1G`) is a tree of strings
whose keys are dotted. Both double a comma to mean one. Pure: text in, values or QmpError out.
Observed from util/qemu-option.c, util/keyval.c and util/cutils.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from qapi.error import QmpError
from qapi.size import OUT_OF_RANGE, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Warn: TypeAlias = Callable[[str, str], None]  # (text, hint)

Tree: TypeAlias = "dict[str, Tree | str] | list[Tree | str]"

BOOLEANS = {
    **dict.fromkeys(("on", "yes", "true", "y"), True),
    **dict.fromkeys(("off", "no", "false", "n"), False),
}
HELP_WORDS = ("help", "?")
HELP_FLAG = "\0on"  # the value of a bare `help`, unlike any that can be written
BAD_ID_HINT = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
BAD_SIZE_HINT = (
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
    "and exabytes, respectively."
)

# Patterns are compiled when they are first used, not when every process starts.
_ID = r"[a-zA-Z][a-zA-Z0-9_.-]*"
_NUMBER = r"\s*([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))"


class HelpWanted(Exception):
    """`help` stood where a parameter was expected: the caller prints its list."""


class OptionList(NamedTuple):
    """What QEMU knows of one option's argument.

    `kinds` maps a parameter to "str", "bool", "number" or "size"; None takes any parameter as it
    is. `merge` lists fold every appearance of their option into one and know no id. `defaults` are
    those that clients are told.
    """

    name: str
    implied: str | None
    kinds: Mapping[str, str] | None = None
    merge: bool = False
    defaults: Mapping[str, str] | None = None


class Options(NamedTuple):
    """One argument, taken apart: its id and its parameters in order (the last of a name wins)."""

    id: str | None
    pairs: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str | None = None) -> str | None:
        for key, value in reversed(self.pairs):
            if key == name:
                return value
        return default

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.get(name)
        return default if value is None else parse_boolean(name, value)

    def number(self, name: str, default: int = 0) -> int:
        value = self.get(name)
        return default if value is None else parse_number(name, value)

    def size(self, name: str, default: int = 0) -> int:
        value = self.get(name)
        return default if value is None else parse_option_size(name, value)

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self.pairs)


def ignore(text: str, hint: str) -> None:
    """The Warn that says nothing."""


def parse_options(text: str, known: OptionList, warn: Warn = ignore) -> Options:
    """Take one option argument apart and check its parameters' names, types and id.

    Raises QmpError with QEMU's text, or HelpWanted where the list knows its parameters (where it
    does not, `help` is one of them). `warn` hears of short-form booleans.
    """
    identifier: str | None = None
    pairs: list[tuple[str, str]] = []
    for key, value in _split(text, known.implied, warn):
        if key == "id":
            # The first id counts; it is never a parameter.
            identifier = value if identifier is None else identifier
        else:
            if known.kinds is not None:
                if key in HELP_WORDS and value == HELP_FLAG:
                    raise HelpWanted
                _check(known.kinds, key, value)
            pairs.append((key, "on" if value == HELP_FLAG else value))
    if identifier is not None:
        if known.merge:
            raise QmpError("Invalid parameter 'id'")
        check_id(identifier)
    return Options(identifier, tuple(pairs))


def check_id(identifier: str) -> None:
    if re.fullmatch(_ID, identifier) is None:
        raise QmpError("Parameter 'id' expects an identifier", hint=BAD_ID_HINT)


def _check(kinds: Mapping[str, str], key: str, value: str) -> None:
    kind = kinds.get(key)
    if kind is None:
        raise QmpError(f"Invalid parameter '{key}'")
    if kind == "bool":
        parse_boolean(key, value)
    elif kind == "number":
        parse_number(key, value)
    elif kind == "size":
        parse_option_size(key, value)


def _split(text: str, implied: str | None, warn: Warn) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        end = _find_any(text, "=,", at)
        if end < len(text) and text[end] == "=":
            value, after = _value(text, end + 1)
            yield text[at:end], value
        elif implied is not None:
            value, after = _value(text, at)
            yield implied, value
        else:
            after = end
            yield _flag(text[at:end], warn)
        implied = None
        at = after + 1


def _flag(word: str, warn: Warn) -> tuple[str, str]:
    if word in HELP_WORDS:
        return word, HELP_FLAG
    off = word.startswith("no")
    key, value = (word[2:], "off") if off else (word, "on")
    # "delay" is stored as the opposite of what it is called today.
    use = f"nodelay={'on' if off else 'off'}" if key == "delay" else f"{key}={value}"
    warn(f"short-form boolean option '{word}' deprecated", f"Please use {use} instead")
    return key, value


def _find_any(text: str, stops: str, at: int) -> int:
    ends = [end for stop in stops if (end := text.find(stop, at)) >= 0]
    return min(ends, default=len(text))


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that starts at `at`, doubled commas made single, and where it ends."""
    end = text.find(",", at)
    while end >= 0 and text.startswith(",,", end):
        end = text.find(",", end + 2)
    end = len(text) if end < 0 else end
    return text[at:end].replace(",,", ","), end


def escape(value: str) -> str:
    """The value as it has to be written inside an option argument."""
    return value.replace(",", ",,")


def parse_boolean(name: str, value: str) -> bool:
    if value not in BOOLEANS:
        raise QmpError(f"Parameter '{name}' expects 'on' or 'off'")
    return BOOLEANS[value]


def scan_unsigned(value: str) -> int | None:
    """The number that strtoull sees in the whole of `value`: any base, -1 is 2^64-1. None: none."""
    match = re.fullmatch(_NUMBER, value)
    if match is None:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        number = int(hexadecimal, 16)
    else:
        number = int(octal or "0", 8) if octal is not None else int(decimal)
    return number if number >= 1 << 64 else (-number if sign == "-" else number) % (1 << 64)


def parse_number(name: str, value: str) -> int:
    number = scan_unsigned(value)
    if number is None:
        raise QmpError(f"Parameter '{name}' expects a number")
    if number >= 1 << 64:
        raise QmpError(f"Value '{value}' is too large for parameter '{name}'")
    return number


def parse_uint64(name: str, value: str) -> int:
    """A number as QEMU's string visitor reads it (qapi/string-input-visitor.c)."""
    number = scan_unsigned(value)
    if number is None or number >= 1 << 64:
        raise QmpError(f"Parameter '{name}' expects uint64")
    return number


def parse_uint(name: str, value: str, bits: int) -> int:
    """The same of a smaller one."""
    number = parse_uint64(name, value)
    if number >> bits:
        raise QmpError(f"Parameter '{name}' expects uint{bits}_t")
    return number


def parse_option_size(name: str, value: str) -> int:
    size, error = parse_size(value)
    if error == OUT_OF_RANGE:
        raise QmpError(f"Value '{value}' is out of range for parameter '{name}'")
    if error is not None:
        raise QmpError(
            f"Parameter '{name}' expects a non-negative number below 2^64", hint=BAD_SIZE_HINT
        )
    return size


# A key fragment is an index, or a QAPI name with an optional __vendor.name_ in front.
_FRAGMENT = r"(?:__[a-zA-Z0-9.-]+_)?[a-zA-Z][a-zA-Z0-9_-]*|[0-9]+"


def parse_keyval(text: str, implied: str | None = None) -> tuple[dict[str, Tree | str], bool]:
    """A keyval argument as a tree of strings, and whether it asked for help.

    Keys that are numbers make lists. Raises QmpError with QEMU's text.
    """
    tree: dict[str, Tree | str] = {}
    wants_help = False
    at = 0
    while at < len(text):
        end = _find_any(text, "=,", at)
        has_value = end < len(text) and text[end] == "="
        if not has_value and text[at:end] in HELP_WORDS:
            wants_help, at = True, end + 1
        elif not has_value and implied is not None and end > at:
            # The implied value ends at the first comma: here a comma cannot be doubled.
            _plant(tree, [implied], text[at:end])
            at = end + 1
        else:
            key = text[at:end]
            path = _fragments(key)
            if not has_value:
                raise QmpError(f"Expected '=' after parameter '{key}'")
            value, after = _value(text, end + 1)
            _plant(tree, path, value)
            at = after + 1
        implied = None
    return {key: _listify(node, key) for key, node in tree.items()}, wants_help


def _fragments(key: str) -> list[str]:
    """The parts of a dotted key; a vendor's own part may hold dots itself."""
    fragments: list[str] = []
    at = 0
    pattern = re.compile(_FRAGMENT)
    while match := pattern.match(key, at):
        fragments.append(match[0])
        if match.end() == len(key):
            if fragments[0].isdigit():
                break
            return fragments
        if key[match.end()] != ".":
            break
        at = match.end() + 1
    raise QmpError(f"Invalid parameter '{key}'")


def _plant(tree: dict[str, Tree | str], fragments: list[str], value: str) -> None:
    node = tree
    *path, leaf = fragments
    for depth, fragment in enumerate(path, start=1):
        child = node.setdefault(fragment, {})
        if not isinstance(child, dict):
            raise _inconsistent(path[:depth])
        node = child
    if isinstance(node.get(leaf), dict):
        raise _inconsistent([*path, leaf])
    node[leaf] = value


def _inconsistent(path: list[str]) -> QmpError:
    return QmpError(f"Parameters '{'.'.join(path)}.*' used inconsistently")


def _listify(node: Tree | str, path: str) -> Tree | str:
    if not isinstance(node, dict):
        return node
    branches = {key: _listify(child, f"{path}.{key}") for key, child in node.items()}
    indices = [key.isdigit() for key in branches]
    if not any(indices):
        return branches
    if not all(indices):
        raise _inconsistent([path])
    numbered = {int(key): child for key, child in branches.items()}
    for index in range(len(numbered)):
        if index not in numbered:
            raise QmpError(f"Parameter '{path}.{index}' missing")
    return [numbered[index] for index in range(len(numbered))]


def merge_trees(old: dict[str, Tree | str], new: Mapping[str, Tree | str], path: str = "") -> None:
    """Fold `new` into `old`, as a repeated option does: objects merge, other values replace."""
    for key, value in new.items():
        mine = old.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            merge_trees(mine, value, f"{path}{key}.")
        elif isinstance(mine, list) and isinstance(value, list):
            mine.extend(value)
        elif mine is not None and type(mine) is not type(value):
            raise _inconsistent([path + key])
        else:
            old[key] = value
