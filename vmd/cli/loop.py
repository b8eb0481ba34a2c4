"""Asyncio without what a daemon does not use: a third of a start, and a tenth of its memory.

Asyncio imports TLS, which nothing here speaks, and modules for its debug mode, its error reports
and its subprocesses. The former stays out; of the latter asyncio gets stand-ins, which import the
real modules when they are needed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

STAND_INS: dict[str, dict[str, object]] = {
    "inspect": {},
    "linecache": {},
    # What asyncio reads of them while it is imported.
    "subprocess": {"PIPE": -1, "STDOUT": -2, "DEVNULL": -3},
    "traceback": {"extract_stack": lambda *args: import_module("traceback").extract_stack(*args)},
}


def import_asyncio() -> Any:
    """The asyncio module. Everybody else imports ssl and the others as ever."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    placed: dict[str, ModuleType | None] = {"ssl": None}
    placed |= {name: _stand_in(name, known) for name, known in STAND_INS.items()}
    placed = {name: module for name, module in placed.items() if name not in modules}
    modules.update(placed)
    try:
        import asyncio
    finally:
        for name, module in placed.items():
            if modules.get(name) is module:
                del modules[name]
    return asyncio


def _stand_in(name: str, known: dict[str, object]) -> ModuleType:
    """A module that has what is `known`, and gets the rest from the real one."""
    module = ModuleType(name)

    def look(wanted: str) -> object:
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(import_module(name), wanted)

    module.__dict__.update(known, __getattr__=look)
    return module
