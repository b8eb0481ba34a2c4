"""What `-device help` and `device_add help` print: types of devices, and their properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.devices import catalog

if TYPE_CHECKING:
    from collections.abc import Mapping


def device_help(options: Mapping[str, object]) -> str | None:
    """The list of types, or of one type's properties; None if the options want no help."""
    driver = options.get("driver")
    if driver in ("help", "?"):
        lines = []
        for name in catalog.names():
            kind = catalog.find(name)
            if kind is not None and kind.pluggable:
                bus = f", bus {kind.bus}" if kind.bus else ""
                alias = f', alias "{kind.alias}"' if kind.alias else ""
                lines.append(f'name "{kind.name}"{bus}{alias}\n')
        return "".join(lines)
    kind = catalog.find(str(driver))
    if kind is None or not ("help" in options or "?" in options):
        return None
    lines = [f"{kind.name} options:\n"]
    for name, info in sorted(kind.properties.items()):
        if kind.settable(name) is not None:
            default = "" if info.default is None else f" (default: {_told(info.default)})"
            lines.append(f"  {f'{name}=<{info.type}>':<24}{default}".rstrip() + "\n")
    return "".join(lines)


def _told(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value
