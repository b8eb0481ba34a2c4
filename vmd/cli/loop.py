"""Asyncio without TLS: importing ssl costs a third of a start, and nothing here speaks TLS yet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType


def import_asyncio() -> Any:
    """The asyncio module, imported while ssl cannot be; afterwards ssl is importable again."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    if "ssl" in modules:
        import asyncio

        return asyncio
    modules["ssl"] = None
    try:
        import asyncio
    finally:
        del modules["ssl"]
    return asyncio
