"""Drives and their images at the human monitor. From block-hmp-cmds.c and block/qapi.c."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import qapi
from monitor.hmp import HmpCommand
from qapi.error import QmpError
from qapi.size_text import size_text
from vmd.qmp import block, block_core, ui

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from monitor.hmp import Hmp
    from vmd.machine import Machine
    from vmd.options import Options

_LIMITS = (
    *("bps", "bps_rd", "bps_wr", "bps_max", "bps_rd_max", "bps_wr_max"),
    *("iops", "iops_rd", "iops_wr", "iops_max", "iops_rd_max", "iops_wr_max", "iops_size"),
)
_COUNTERS = (
    *("rd_bytes", "wr_bytes", "rd_operations", "wr_operations", "flush_operations"),
    *("wr_total_time_ns", "rd_total_time_ns", "flush_total_time_ns", "rd_merged", "wr_merged"),
    "idle_time_ns",
)


def info_block(
    machine: Machine,
    hmp: Hmp,
    nodes: bool = False,
    verbose: bool = False,
    device: str | None = None,
) -> None:
    """Drives; a name that no drive has may be a node's. A later one that is picked out has an empty
    line in front of it, as if the others had been shown."""
    printed = False
    if not nodes:
        for number, info in enumerate(block_core.query_block(machine)):
            if device is None or info["device"] == device:
                hmp.print("\n" * (number > 0))
                hmp.print(_drive(info, verbose))
                printed = True
        if device is None or printed:
            return
    for number, node in enumerate(block_core.query_named_block_nodes(machine)):
        if device is None or node["node-name"] == device:
            hmp.print("\n" * (number > 0))
            hmp.print(_described(str(node["node-name"]), None, node, verbose))


def _drive(info: Mapping[str, Any], verbose: bool) -> str:
    inserted = info.get("inserted")
    if info["device"]:
        name = str(info["device"])
        name += f" ({inserted['node-name']})" if inserted is not None else ""
    else:
        name = info["qdev"] if inserted is None else inserted["node-name"]
    return _described(name, info, inserted, verbose)


def _described(
    name: str,
    info: Mapping[str, Any] | None,
    inserted: Mapping[str, Any] | None,
    verbose: bool,
) -> str:
    """A drive (`info`), or a node alone."""
    return "".join(f"{row}\n" for row in _rows(name, info, inserted, verbose))


def _rows(
    name: str,
    info: Mapping[str, Any] | None,
    inserted: Mapping[str, Any] | None,
    verbose: bool,
) -> Iterator[str]:
    if inserted is None:
        yield f"{name}: [not inserted]"
    else:
        about = inserted["drv"]
        about += ", read-only" if inserted["ro"] else ""
        about += ", encrypted" if inserted["encrypted"] else ""
        about += "" if inserted["active"] else ", inactive"
        yield f"{name}: {inserted['file']} ({about})"
    if info is not None:
        if "qdev" in info:
            yield f"    Attached to:      {info['qdev']}"
        if info.get("io-status", "ok") != "ok":
            yield f"    I/O status:       {info['io-status']}"
        if info["removable"]:
            locked = "" if info["locked"] else "not "
            tray = "open" if info.get("tray_open") else "closed"
            yield f"    Removable device: {locked}locked, tray {tray}"
    if inserted is not None:
        yield from _of_medium(inserted)
        if verbose:
            yield from ("", "Images:")
            yield from _images(inserted["image"])


def _of_medium(inserted: Mapping[str, Any]) -> Iterator[str]:
    cache = inserted["cache"]
    mode = "writeback" if cache["writeback"] else "writethrough"
    mode += ", direct" if cache["direct"] else ""
    mode += ", ignore flushes" if cache["no-flush"] else ""
    yield f"    Cache mode:       {mode}"
    if "backing_file" in inserted:
        depth = inserted["backing_file_depth"]
        yield f"    Backing file:     {inserted['backing_file']} (chain depth: {depth})"
    if inserted["detect_zeroes"] != "off":
        yield f"    Detect zeroes:    {inserted['detect_zeroes']}"
    if any(inserted[name] for name in ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")):
        limits = " ".join(f"{name}={inserted.get(name, 0)}" for name in _LIMITS)
        yield f"    I/O throttling:   {limits} group={inserted.get('group', '')}"


def _images(image: Mapping[str, Any] | None) -> Iterator[str]:
    while image is not None:
        yield f"image: {image['filename']}"
        yield f"file format: {image['format']}"
        yield f"virtual size: {size_text(image['virtual-size'])} ({image['virtual-size']} bytes)"
        actual = image.get("actual-size")
        yield f"disk size: {'unavailable' if actual is None else size_text(actual)}"
        if image.get("encrypted"):
            yield "encrypted: yes"
        if "cluster-size" in image:
            yield f"cluster_size: {image['cluster-size']}"
        if image.get("dirty-flag"):
            yield "cleanly shut down: no"
        if "backing-filename" in image:
            yield _backing(image)
            if "backing-filename-format" in image:
                yield f"backing file format: {image['backing-filename-format']}"
        yield from _snapshots(image.get("snapshots", ()))
        specific = image.get("format-specific", {}).get("data")
        if specific:
            yield "Format specific information:"
            yield from _specific(specific, "    ")
        image = image.get("backing-image")


def _specific(told: Mapping[str, Any] | list[Any], margin: str) -> Iterator[str]:
    """What only one format has to tell, however deep."""
    if isinstance(told, list):
        entries = [(f"[{number}]", value) for number, value in enumerate(told)]
    else:
        entries = [(name.replace("-", " "), value) for name, value in told.items()]
    for name, value in entries:
        if isinstance(value, (dict, list)):
            yield f"{margin}{name}:"
            yield from _specific(value, f"{margin}    ")
        else:
            shown = str(value).lower() if isinstance(value, bool) else value
            yield f"{margin}{name}: {shown}"


def _backing(image: Mapping[str, Any]) -> str:
    text = f"backing file: {image['backing-filename']}"
    full = image.get("full-backing-filename")
    if full is None:
        return f"{text} (cannot determine actual path)"
    return text if full == image["backing-filename"] else f"{text} (actual path: {full})"


def _snapshots(found: Any) -> Iterator[str]:
    if found:
        yield "Snapshot list:"
        yield _TITLES
        yield from (_snapshot(each, each["id"]) for each in found)


_COLUMNS = "{:<7} {:<16} {:>8} {:>19} {:>15} {:>10}"
_TITLES = _COLUMNS.format("ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT")


def _snapshot(told: Mapping[str, Any], identifier: str) -> str:
    from time import localtime, strftime

    minutes, seconds = divmod(told["vm-clock-sec"], 60)
    hours, minutes = divmod(minutes, 60)
    return _COLUMNS.format(
        identifier,
        told["name"],
        size_text(told["vm-state-size"]),
        strftime("%Y-%m-%d %H:%M:%S", localtime(told["date-sec"])),
        f"{hours:04}:{minutes:02}:{seconds:02}.{told['vm-clock-nsec'] // 1_000_000:03}",
        told.get("icount", "--"),
    )


def info_snapshots(machine: Machine, hmp: Hmp) -> None:
    """Those that all images have, and of each image those that others have not. From
    migration/migration-hmp-cmds.c; an image that nothing uses counts too."""
    images = _writable(machine)
    if not any(image["format"] == "qcow2" for image in images):
        hmp.print("no block device can store vmstate for snapshot\n")
        return
    lists = [image.get("snapshots", []) for image in images]
    first = next(
        found for image, found in zip(images, lists, strict=True) if image["format"] == "qcow2"
    )
    names = [{each["name"] for each in found} for found in lists]
    common = [each for each in first if all(each["name"] in known for known in names)]
    if not any(lists):
        hmp.print("There is no snapshot available.\n")
        return
    rows = ["List of snapshots present on all disks:"]
    rows += [_TITLES, *(_snapshot(each, "--") for each in common)] if common else ["None"]
    everywhere = {each["name"] for each in common}
    for found in lists:
        partial = [each for each in found if each["name"] not in everywhere]
        if partial:
            rows += ["", "List of partial (non-loadable) snapshots on '':", _TITLES]
            rows += [_snapshot(each, each["id"]) for each in partial]
    hmp.print("".join(f"{row}\n" for row in rows))


def _writable(machine: Machine) -> list[Mapping[str, Any]]:
    """The images that may be written to: those of drives first, then those that nothing uses."""
    backends: list[Any] = block_core.query_block(machine)
    drives = [drive["inserted"] for drive in backends if "inserted" in drive]
    used = {drive["node-name"] for drive in drives}
    nodes: list[Any] = block_core.query_named_block_nodes(machine)
    alone = [
        node
        for node in reversed(nodes)
        if node["node-name"] not in used
        and not machine.nodes.by_name[str(node["node-name"])].parents
    ]
    found: list[Any] = [*drives, *alone]
    return [each["image"] for each in found if not each["ro"]]


def info_blockstats(machine: Machine, hmp: Hmp) -> None:
    for stats in block_core.query_blockstats(machine):
        if "device" in stats:
            values: Any = stats["stats"]
            told = " ".join(f"{name}={values.get(name, 0)}" for name in _COUNTERS)
            hmp.print(f"{stats['device']}: {told}\n")


async def block_resize(machine: Machine, hmp: Hmp, device: str, size: int) -> None:
    await block_core.block_resize(machine, size, device)


def drive_add(machine: Machine, hmp: Hmp, pci_addr: str, opts: str, node: bool = False) -> None:
    """A drive that a device may then take; where it would once have been plugged is of no use."""
    from vmd.option_lists import DRIVE
    from vmd.options import parse_options

    def warn(text: str, hint: str) -> None:
        hmp.print(f"warning: {text}\n{hint}\n")

    try:
        options = parse_options(opts, DRIVE, warn)
        if node:
            _add_node(machine, options)
            return
        _add_drive(machine, options)
    except QmpError as error:
        hmp.print(f"{error.desc}\n" + (f"{error.hint}\n" if error.hint else ""))
    else:
        hmp.print("OK\n")


def _add_node(machine: Machine, options: Options) -> None:
    if "node-name" not in options:
        raise QmpError("'node-name' needs to be specified")
    words = qapi.load().check_options("BlockdevOptions", list(options.pairs))
    assert isinstance(words, dict)
    machine.nodes.add(words)


def _add_drive(machine: Machine, options: Options) -> None:
    from vmd.devices import drives
    from vmd.devices.drive_options import INTERFACES, open_drive

    place, _, name = open_drive(machine, options, lambda text: machine.report(text.rstrip("\n")))
    if place.interface != "none":
        drives.delete(machine, name)
        raise QmpError(f"Can't hot-add drive to type {INTERFACES.index(place.interface)}")


def drive_del(machine: Machine, hmp: Hmp, id: str) -> None:
    """A drive goes, also if a device has it; a node only if nobody has it."""
    from vmd.devices import drives

    try:
        if id in machine.nodes.by_name:
            block_core.blockdev_del(machine, id)
        else:
            drives.delete(machine, id)
    except QmpError as error:
        hmp.print(f"{error.desc}\n")


def block_set_io_throttle(machine: Machine, hmp: Hmp, device: str, **limits: int) -> None:
    block.block_set_io_throttle(machine, device, None, None, **limits)


def eject(machine: Machine, hmp: Hmp, device: str, force: bool = False) -> None:
    block.eject(machine, device, force=force)


def change(
    machine: Machine,
    hmp: Hmp,
    device: str,
    target: str,
    arg: str | None = None,
    read_only_mode: str | None = None,
    force: bool = False,
) -> None:
    """Another medium for a drive; of the VNC server, its password."""
    if device == "vnc":
        _change_vnc(machine, hmp, target, arg, read_only_mode)
        return
    mode = read_only_mode or "retain"
    if mode not in qapi.load().enum("BlockdevChangeReadOnlyMode"):
        raise QmpError(f"invalid parameter value: {mode}")
    block.blockdev_change_medium(machine, target, device, None, arg, force, mode)


def _change_vnc(
    machine: Machine, hmp: Hmp, what: str, password: str | None, mode: str | None
) -> None:
    """Observed from ui/ui-hmp-cmds.c."""
    if mode is not None:
        raise QmpError("Parameter 'read-only-mode' is invalid for VNC")
    if what not in ("passwd", "password"):
        raise QmpError("Expected 'password' after 'vnc'")
    if password is None:
        hmp.read_password(lambda typed: _set_password(machine, hmp, typed))
    else:
        ui.change_vnc_password(machine, password)


def _set_password(machine: Machine, hmp: Hmp, password: str) -> None:
    """What was typed; a refusal is not told."""
    with suppress(QmpError):
        ui.change_vnc_password(machine, password)


COMMANDS = [
    HmpCommand(
        "block_resize",
        "device:B,size:o",
        "device size",
        "change an image's size",
        block_resize,
        True,
    ),
    HmpCommand(
        "block_set_io_throttle",
        "device:B,bps:l,bps_rd:l,bps_wr:l,iops:l,iops_rd:l,iops_wr:l",
        "device bps bps_rd bps_wr iops iops_rd iops_wr",
        "limit what a drive may do in a second",
        block_set_io_throttle,
        preconfig=True,
    ),
    HmpCommand(
        "drive_add",
        "node:-n,pci_addr:s,opts:s",
        "[-n] [[<domain>:]<bus>:]<slot>\n"
        "[file=file][,if=type][,bus=n]\n"
        "[,unit=m][,media=d][,index=i]\n"
        "[,readonly=on|off][,cache=on|off]",
        "add a drive that a device may take (-n: a node)",
        drive_add,
    ),
    HmpCommand(
        "drive_del",
        "id:B",
        "device",
        "take a drive away, also from its device",
        drive_del,
    ),
    HmpCommand(
        "eject",
        "force:-f,device:B",
        "[-f] device",
        "take the medium out of a drive (-f: even if it is held)",
        eject,
    ),
    HmpCommand(
        "change",
        "device:B,force:-f,target:F,arg:s?,read-only-mode:s?",
        "device [-f] filename [format [read-only-mode]]",
        "put another medium into a drive (-f: even if it is held), or set VNC's password",
        change,
    ),
]

INFO = [
    HmpCommand(
        "block",
        "nodes:-n,verbose:-v,device:B?",
        "[-n] [-v] [device]",
        "show the drives, or one of them (-n: all nodes; -v: with their images)",
        info_block,
    ),
    HmpCommand("snapshots", "", "", "show the snapshots that images hold", info_snapshots),
    HmpCommand("blockstats", "", "", "show what the drives have done", info_blockstats),
]
