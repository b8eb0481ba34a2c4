"""`-global migration.PROPERTY=VALUE`: migration options preset before there is a monitor.

Properties bear the names of capabilities and parameters, most with `x-` in front. Observed from
migration/options.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import qapi
from qapi.error import QmpError
from vmd.migration.parameters import BANDWIDTH, MIDDLE, NUMBER, SIZE, SMALL, SWITCH
from vmd.migration.parameters import PARAMETERS as PARAMETER_ROWS
from vmd.options import parse_boolean, parse_option_size, parse_uint, parse_uint64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vmd.cli.config import GlobalRequest
    from vmd.migration.parameters import MigrationOptions

CAPABILITIES = {
    "x-xbzrle": "xbzrle",
    "x-rdma-pin-all": "rdma-pin-all",
    "x-auto-converge": "auto-converge",
    "x-zero-blocks": "zero-blocks",
    "x-events": "events",
    "x-colo": "x-colo",
    "x-release-ram": "release-ram",
    "x-return-path": "return-path",
    "x-switchover-ack": "switchover-ack",
    "x-dirty-limit": "dirty-limit",
    "mapped-ram": "mapped-ram",
}
PARAMETERS = {
    "announce-initial": "announce-initial",
    "announce-max": "announce-max",
    "announce-rounds": "announce-rounds",
    "announce-step": "announce-step",
    "x-throttle-trigger-threshold": "throttle-trigger-threshold",
    "x-cpu-throttle-initial": "cpu-throttle-initial",
    "x-cpu-throttle-increment": "cpu-throttle-increment",
    "x-cpu-throttle-tailslow": "cpu-throttle-tailslow",
    "max-cpu-throttle": "max-cpu-throttle",
    "x-max-bandwidth": "max-bandwidth",
    "avail-switchover-bandwidth": "avail-switchover-bandwidth",
    "x-downtime-limit": "downtime-limit",
    "x-checkpoint-delay": "x-checkpoint-delay",
    "xbzrle-cache-size": "xbzrle-cache-size",
    "x-vcpu-dirty-limit-period": "x-vcpu-dirty-limit-period",
    "vcpu-dirty-limit": "vcpu-dirty-limit",
    "mode": "mode",
    "zero-page-detection": "zero-page-detection",
}


def preset(
    options: MigrationOptions, requests: Iterable[GlobalRequest], tell: Callable[[str], None]
) -> None:
    """Apply those to the driver `migration`; QmpError with QEMU's text, warnings for `tell`.

    What goes together is judged when all are known.
    """
    capabilities: list[tuple[str, bool]] = []
    parameters: dict[str, object] = {}
    for request in requests:
        name = request.property
        try:
            if name in CAPABILITIES:
                capabilities.append((CAPABILITIES[name], parse_boolean(name, request.value)))
            elif name in PARAMETERS:
                parameters[PARAMETERS[name]] = _parse(name, request.value)
            else:
                raise QmpError(f"Property 'migration.{name}' not found")
        except QmpError as error:
            text = f"can't apply global {request}: {error.desc}"
            raise QmpError(text, hint=error.hint) from None
    options.set_parameters(parameters)
    options.set_capabilities(capabilities, tell)


def _parse(name: str, text: str) -> object:
    """A parameter's value; complaints bear the property's own name."""
    parameter = PARAMETERS[name]
    kind = PARAMETER_ROWS[parameter].kind
    if kind in (SIZE, BANDWIDTH):
        return parse_option_size(name, text)
    if kind == NUMBER:
        return parse_uint64(name, text)
    if kind in (SMALL, MIDDLE):
        return parse_uint(name, text, 8 if kind == SMALL else 32)
    if kind == SWITCH:
        return parse_boolean(name, text)
    qapi.load().check_keyval("MigrateSetParameters", {parameter: text})
    return text
