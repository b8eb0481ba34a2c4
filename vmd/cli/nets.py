"""Networks as people write them: `-nic`, a device with its backend, and `-net`, ends of a hub.

Observed from net/net.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from qapi.error import QmpError
from vmd.devices import catalog
from vmd.devices.furniture import DEFAULT_NIC, Nic
from vmd.options import check_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qapi.schema import Schema
    from vmd.cli.config import Config, NetRequest
    from vmd.cli.report import Report
    from vmd.devices.board import Board
    from vmd.machine import Machine

ALIASES = {"virtio": "virtio-net-pci"}
_OF_A_DEVICE = ("model", "mac", "macaddr", "addr", "vectors")
_MAC = r"[0-9a-fA-F]{1,2}([:-][0-9a-fA-F]{1,2}){5}"


class Wish(NamedTuple):
    """One option: a backend, a port of the hub, a device; each may be missing.

    `lacking` tells of a device that the board cannot have.
    """

    where: str
    backend: dict[str, Any] | None
    port: str | None
    nic: Nic | None
    lacking: str | None


def wishes(config: Config, board: Board, schema: Schema, report: Report) -> list[Wish]:
    """What all `-nic` and `-net` ask for; Quit where one makes no sense."""
    found = []
    ports = iter(range(len(config.nets)))
    for number, request in enumerate(config.nets):
        if request.options.get("type") != "none":
            with report.at(request.where):
                found.append(_wish(request, f"#net{number:03d}", ports, board, schema))
    return found


def _wish(
    request: NetRequest, name: str, ports: Iterator[int], board: Board, schema: Schema
) -> Wish:
    options = request.options
    if options.id is not None:
        check_id(options.id)
        name = options.id
    has_backend = request.is_pair or options.get("type") != "nic"
    has_device = request.is_pair or not has_backend
    backend = _backend(request, name, schema) if has_backend else None
    peer = options.get("netdev") if not has_backend else name
    port = None
    if not request.is_pair and (has_backend or peer is None):
        port = f"hub0port{next(ports)}"
    if not has_device:
        return Wish(request.where, backend, port, None, None)
    nic = _device(request, peer or port or "", board)
    model = options.get("model", "unspecified")
    label = "anonymous" if request.is_pair else name
    text = f"requested NIC ({label}, model {model}) was not created"
    lacking = None if nic is not None else f"{text} (not supported by this machine?)"
    return Wish(request.where, backend, port, nic, lacking)


def _backend(request: NetRequest, name: str, schema: Schema) -> dict[str, Any]:
    """The schema's Netdev, without what is the device's."""
    pairs = [pair for pair in request.options.pairs if pair[0] not in _OF_A_DEVICE]
    found = schema.check_options("Netdev", [*pairs, ("id", name)])
    assert isinstance(found, dict)
    return found


def _device(request: NetRequest, peer: str, board: Board) -> Nic | None:
    """The device, None where the board has no such one."""
    options = request.options
    for key, _ in () if request.is_pair else options.pairs:
        if key not in ("type", "netdev", *_OF_A_DEVICE):
            raise QmpError(f"Invalid parameter '{key}'")
    address = options.get("macaddr", options.get("mac"))
    if address is not None and re.fullmatch(_MAC, address) is None:
        raise QmpError("invalid syntax for ethernet address")
    model = options.get("model", DEFAULT_NIC.get(board.alias or "", ""))
    kind = catalog.find(ALIASES.get(model or "", model or "")) if board.has_cpus else None
    if kind is None or kind.bus != "PCI" or "netdev" not in kind.properties:
        return None
    given: dict[str, object] = {"netdev": peer}
    if address is not None:
        given["mac"] = address
    if "vectors" in kind.properties and (request.is_pair or "vectors" in options):
        given["vectors"] = options.number("vectors")
    return Nic(kind.name, given)


def connect(machine: Machine, wishes: list[Wish], report: Report) -> None:
    """Make the backends, and the ports of the hub."""
    for wish in wishes:
        with report.at(wish.where):
            if wish.backend is not None:
                machine.networks.add(wish.backend, {}, checked=True)
            if wish.port is not None:
                backend = None if wish.backend is None else str(wish.backend["id"])
                machine.networks.add_port(wish.port, backend)
            peer = wish.nic and str(wish.nic.options["netdev"])
            if peer is not None and machine.networks.find(peer) is None:
                raise QmpError(f"netdev '{peer}' not found")
