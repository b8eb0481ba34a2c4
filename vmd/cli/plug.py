"""The devices of the command line, plugged when the machine is there. From system/vl.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.cli.config import DeviceRequest

if TYPE_CHECKING:
    from vmd.cli.config import Config
    from vmd.cli.report import Report
    from vmd.machine import Machine


def add_devices(machine: Machine, config: Config, report: Report) -> None:
    """Plug every `-device`, those written as JSON last; Quit where one is wrong."""
    machine.warn = lambda text: report.warning(text, report.place)
    for request in sorted(config.devices, key=lambda each: each.is_json):
        with report.at(request.where):
            machine.devices.add(request.options, hotplug=False)
    if machine.globals:
        for rule in machine.globals:
            if rule not in machine.devices.used_globals:
                driver, name, value = rule
                report.warning(f"global {driver}.{name}={value} not used")


def device_help(request: DeviceRequest) -> str | None:
    """What `-device help` and `-device TYPE,help` print; None if no help is wanted."""
    from vmd.devices import catalog

    driver = request.options.get("driver")
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
    if kind is None or not ("help" in request.options or "?" in request.options):
        return None
    lines = [f"{kind.name} options:\n"]
    for name, info in sorted(kind.properties.items()):
        if kind.settable(name) is not None:
            default = "" if info.default is None else f" (default: {_told(info.default)})"
            lines.append(f"  {f'{name}=<{info.type}>':<24}{default}".rstrip() + "\n")
    return "".join(lines)


def _told(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value
