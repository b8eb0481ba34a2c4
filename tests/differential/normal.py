"""What two runs of the same question may differ in, replaced by a name for it.

Only what depends on the machine, the moment or the program's own name is replaced; each
replacement keeps the type of what it replaces (a member that should be a number and is not stays
visible).
"""

from __future__ import annotations

import json
import re
from typing import Any

DURATIONS = {"total-time", "downtime", "setup-time", "expected-downtime"}
RATES = {"mbps", "pages-per-second", "dirty-pages-rate"}
# Bytes sent vary with the moment too: QEMU opens one section more or less for the same pages.
BYTES = {"transferred", "precopy-bytes", "downtime-bytes"}
# What depends on the guest's own pages: QEMU's machine none has no guest at all, vmd's always one.
CONTENT = {"duplicate", "normal", "normal-bytes"}
# On machines with firmware also the sum of RAM blocks is the machine's affair.
FIRMWARE = {"total", "remaining"}

_TEXT = (
    (re.compile(r"^(?:qemu-system-x86_64|vmd):", re.M), "<program>:"),
    (re.compile(r"from pid \d+ \(.*\)"), "from pid <pid> (<command>)"),
    (re.compile(r"^(total time|downtime|setup|expected downtime): \d+ ms$", re.M), r"\1: <n> ms"),
    (re.compile(r"^throughput: \d+\.\d\d mbps$", re.M), "throughput: <n> mbps"),
    (re.compile(r"^pages-per-second: \d+$", re.M), "pages-per-second: <n>"),
    (re.compile(r"10\.0\.2(?:Debian \S+|vmd \S+)$", re.M), "10.0.2<package>"),
    (re.compile(r"0x[0-9a-f]{16}(?=  r[wo])"), "<host address>"),
    (re.compile(r"^(Host \w+ address for \S+ \(\S+\) is) 0x[0-9a-f]+$", re.M), r"\1 <address>"),
    (re.compile(r"\bthread_id=\d+$", re.M), "thread_id=<n>"),
    (re.compile(r"#(net|block)\d+\b"), r"#\1<n>"),
    (re.compile(r"^TLB elided flushes  \d+$", re.M), "TLB elided flushes  <n>"),
    (
        re.compile(r"^((?:transferred|precopy|downtime) ram): \d+ kbytes$", re.M),
        r"\1: <n> kbytes",
    ),
)
_CONTENT_TEXT = (
    (re.compile(r"^(duplicate|normal): \d+ pages$", re.M), r"\1: <n> pages"),
    (re.compile(r"^normal bytes: \d+ kbytes$", re.M), "normal bytes: <n> kbytes"),
)


def value(thing: Any, *, exact: bool = False, firmware: bool = False) -> Any:
    """A QMP value with what may differ replaced.

    `exact` keeps the page counts (both subjects then have the same RAM); `firmware` gives up the
    total as well.
    """
    if isinstance(thing, list):
        return [value(item, exact=exact, firmware=firmware) for item in thing]
    if isinstance(thing, str) and "\r\n" in thing:  # what a human monitor said
        return text(thing.replace("\r\n", "\n"), exact=exact).replace("\n", "\r\n")
    if not isinstance(thing, dict):
        return thing
    return {key: _member(key, item, exact, firmware) for key, item in thing.items()}


def _member(key: str, item: Any, exact: bool, firmware: bool) -> Any:
    number = type(item) in (int, float)
    if key in DURATIONS and type(item) is int:
        return "<ms>"
    if key in RATES and number:
        return "<rate>"
    if type(item) is int and ((key in BYTES and item) or (key in CONTENT and not exact)):
        return "<n>"
    if firmware and key in FIRMWARE and item:
        return "<n>"
    if key == "package" and isinstance(item, str):
        return "<package>"
    return value(item, exact=exact, firmware=firmware)


# Where vmd tells more than QEMU does: a half state file is named on stderr.
_OURS = re.compile(r"^vmd: info: the state file '.*' is incomplete \(\d+ bytes\)\n", re.M)


def text(what: str, *, exact: bool = False) -> str:
    """Screen or stderr text with what may differ replaced."""
    what = _OURS.sub("", what)
    for pattern, name in _TEXT if exact else _TEXT + _CONTENT_TEXT:
        what = pattern.sub(name, what)
    return what


def line(label: str, thing: Any) -> str:
    """One line of a transcript: canonical JSON behind a label."""
    if thing is None:
        return label
    return f"{label} {json.dumps(thing, sort_keys=True, ensure_ascii=False)}"
