"""Ask real QEMU what boards and devices consist of, and keep it in `vmd/devices/trees.json`.

Run by hand (`python -m tests.vmd.record_trees`) when there is a new QEMU to follow, or a type of
device is added. What is kept is described in vmd/devices/trees.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.vmd.record_devices import PLAIN, WITH, Qemu
from vmd.devices import catalog

DATA = Path(__file__).parents[2] / "vmd/devices/trees.json"
BOARDS = ("none", "pc", "q35")
BASE = "-S -nodefaults -display none -qmp stdio -m 16"
OURS = ("peripheral", "peripheral-anon")  # what is in there is not the board's
CPU = re.compile(r".*-x86_64-cpu")


def human(qemu: Qemu, line: str) -> list[str]:
    text: str = qemu.ask("human-monitor-command", **{"command-line": line})
    return text.replace("\r\n", "\n").splitlines()


def objects_below(qemu: Qemu, path: str, kind: str) -> list[Any]:
    """[type, {property: [type, value]}, {child: …}], links with the path that they lead to."""
    properties: dict[str, list[Any]] = {}
    children: dict[str, Any] = {}
    for entry in qemu.ask("qom-list", path=path):
        name, what = entry["name"], entry["type"]
        if what.startswith("child<"):
            if not CPU.fullmatch(what[6:-1]):
                children[name] = objects_below(qemu, f"{path}/{name}", what[6:-1])
        elif name != "type":
            answer = qemu.reply("qom-get", path=path, property=name)
            properties[name] = [what, answer.get("return")]
    return [kind, properties, children]


def devices_of(rows: list[str]) -> dict[str, Any]:
    """The root bus of `info qtree`: {name, type, devices: [{type, id, rows, buses}]}."""
    root: dict[str, Any] = {"name": "", "type": "", "devices": [], "buses": []}
    stack: list[tuple[int, dict[str, Any]]] = [(-1, root)]
    for row in rows:
        depth = len(row) - len(row.lstrip())
        text = row.strip()
        if text.startswith(("bus: ", "dev: ")):
            while stack[-1][0] >= depth:
                stack.pop()
            node: dict[str, Any]
            if text.startswith("bus: "):
                node = {"name": text[5:], "type": "", "devices": []}
                stack[-1][1]["buses"].append(node)
            else:
                match = re.fullmatch(r'dev: (\S+), id "(.*)"', text)
                assert match is not None
                node = {"type": match[1], "id": match[2], "rows": [], "buses": []}
                stack[-1][1]["devices"].append(node)
            stack.append((depth, node))
        elif text.startswith("type ") and "devices" in stack[-1][1]:
            stack[-1][1]["type"] = text[5:]
        else:
            stack[-1][1]["rows"].append(text)
    found: dict[str, Any] = root["buses"][0]
    return found


def find_device(bus: dict[str, Any], identifier: str) -> dict[str, Any] | None:
    for device in bus["devices"]:
        if device["id"] == identifier:
            return device
        for below in device["buses"]:
            found = find_device(below, identifier)
            if found is not None:
                return found
    return None


def own_rows(device: dict[str, Any]) -> list[str]:
    """Without what a bus tells of the device."""
    said_by_bus = re.compile(
        r"class .*, addr |bar \d+: |channel \d|addr \d|port \d|chan \d|isa irq"
    )
    return [row for row in device["rows"] if not said_by_bus.match(row)]


Region = list[Any]  # [first, last, priority, kind, name, alias or None, regions in it]
REGION = re.compile(
    r"( *)(\w{16})-(\w{16}) \(prio (-?\d+), (\S+)\): (alias )?(.*?)(?: @(.*) (\w{16})-(\w{16}))?"
)


def regions_of(rows: list[str]) -> list[dict[str, Any]]:
    """The groups of `info mtree`: what each is, names of address spaces, and the regions in it."""
    groups: list[dict[str, Any]] = []
    stack: list[tuple[int, list[Region]]] = []
    fresh = True
    for row in rows:
        if not row:
            fresh = True
        elif row.startswith(("address-space: ", "memory-region: ")):
            kind, _, name = row.partition(": ")
            if fresh:
                groups.append({"kind": kind, "names": [], "regions": []})
                stack = [(-1, groups[-1]["regions"])]
            groups[-1]["names"].append(name)
            fresh = False
        else:
            match = REGION.fullmatch(row)
            assert match is not None, row
            blanks, first, last, priority, kind, is_alias, name, target, begin, end = match.groups()
            alias = [target, int(begin, 16), int(end, 16)] if is_alias else None
            region = [int(first, 16), int(last, 16), int(priority), kind, name, alias, []]
            while stack[-1][0] >= len(blanks):
                stack.pop()
            if len(blanks) > 2 * len(stack):  # around it is one that is switched off
                hidden: Region = [region[0], region[0], 0, "", "", None, []]
                stack[-1][1].append(hidden)
                stack.append((len(blanks) - 2, hidden[6]))
            stack[-1][1].append(region)
            if not is_alias:
                stack.append((len(blanks), region[6]))
    # QEMU takes them out of a hash table.
    return sorted(groups, key=lambda group: (group["kind"], group["names"], dump(group)))


def added_to(base: list[Region], regions: list[Region], parent: str) -> list[list[Any]]:
    """[the name of the region around it, region] for each that the base does not have."""
    found: list[list[Any]] = []
    left = list(base)
    for region in regions:
        same = next((other for other in left if other[:6] == region[:6]), None)
        if same is None:
            found.append([parent, region])
        else:
            left.remove(same)
            found += added_to(same[6], region[6], region[4])
    return found


def added_regions(base: list[dict[str, Any]], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """What a device adds: groups, and regions in the spaces that are there anyway."""
    left = list(base)
    found: dict[str, Any] = {"groups": [], "regions": [], "joins": {}}
    for group in groups:
        kind, names = group["kind"], group["names"]
        same = next((g for g in left if g["kind"] == kind and {*g["names"]} & {*names}), None)
        if same is None:
            found["groups"].append(group)
        else:
            left.remove(same)
            more = [name for name in names if name not in same["names"]]
            if more:
                found["joins"][same["names"][0]] = more
            if group["kind"] == "address-space":
                found["regions"] += added_to(same["regions"], group["regions"], "")
    return {key: value for key, value in found.items() if value}


def instance(name: str, base: list[dict[str, Any]]) -> dict[str, Any]:
    """What a device consists of: children, rows of its properties, and regions of memory."""
    options, properties = WITH.get(name, ("", ""))
    words = ",".join(filter(None, (name, "id=dev", properties)))
    qemu = Qemu(f"-machine q35 {options} -device {words}", BASE)
    device = find_device(devices_of(human(qemu, "info qtree")), "dev")
    _, _, children = objects_below(qemu, "/machine/peripheral/dev", name)
    regions = regions_of(human(qemu, "info mtree"))
    qemu.close()
    if "-device" in options:
        qemu = Qemu(f"-machine q35 {options}", BASE)
        base = regions_of(human(qemu, "info mtree"))
        qemu.close()
    # Of these vmd knows itself.
    children = {n: c for n, c in children.items() if not re.fullmatch(r"dev(\.\d)?|vs\.\d", n)}
    children.pop("virtio-backend", None)
    found: dict[str, Any] = {"children": compact(children)}
    if device is not None:
        found["rows"] = own_rows(device)
        inner = [d for b in device["buses"] if b["name"] == "virtio-bus" for d in b["devices"]]
        if inner:
            found["inner"] = own_rows(inner[0])
    return found | added_regions(base, regions)


def compact(children: dict[str, Any]) -> dict[str, Any]:
    """Regions of memory as [address, container, priority, size], interrupt lines as 0."""
    found: dict[str, Any] = {}
    for name, (kind, properties, below) in children.items():
        if kind == "irq" and not properties:
            found[name] = 0
        elif kind == "memory-region":
            order = ("addr", "container", "priority", "size")
            found[name] = [properties[key][1] for key in order]
        else:
            found[name] = {"type": kind, "properties": properties, "children": compact(below)}
            for key in ("properties", "children"):
                if not found[name][key]:
                    del found[name][key]
    return found


def slim(bus: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    for device in bus["devices"]:
        device["rows"] = own_rows(device)
        for key in ("rows", "buses", "id"):
            if not device[key]:
                del device[key]
        for below in device.get("buses", ()):
            slim(below)
    return bus


def board(name: str) -> dict[str, Any]:
    qemu = Qemu(f"-machine {name}", BASE)
    _, _, children = objects_below(qemu, "/machine", "")
    cpu: list[Any] = ["", {}, {}]
    if name != "none":
        cpu = objects_below(qemu, "/machine/unattached/device[0]", "")
    tree = slim(devices_of(human(qemu, "info qtree")))
    regions = regions_of(human(qemu, "info mtree"))
    qemu.close()
    for ours in OURS:
        del children[ours]
    return {
        "objects": compact(children),
        "cpu": compact(cpu[2]),
        "devices": tree,
        "groups": regions,
    }


def categories(known: set[str]) -> list[list[Any]]:
    """[title, rows] of `info qdm`, of the types that vmd knows."""
    qemu = Qemu("-machine none", BASE)
    rows = human(qemu, "info qdm")
    qemu.close()
    found: list[list[Any]] = []
    for row in rows:
        match = re.match(r'name "([^"]+)"', row)
        if row.endswith(" devices:"):
            found.append([row, []])
        elif match is not None and match[1] in known:
            found[-1][1].append(row)
    return [each for each in found if each[1]]


def main() -> None:
    boards = {name: board(name) for name in BOARDS}
    types = {}
    for name in dict.fromkeys((*PLAIN, *WITH)):
        if name == "pc-dimm":  # it is nothing but RAM
            continue
        types[name] = instance(name, boards["q35"]["groups"])
        print(name, flush=True)
    # Two bridges in a row cannot be told apart; the second is like the first.
    like, name = "x3130-upstream", "xio3130-downstream"
    for key in ("groups", "regions"):
        types[name][key] = json.loads(json.dumps(types[like][key]).replace(like, name))
    with DATA.open("w", encoding="ascii") as stream:
        parts = []
        for key, group in (("boards", boards), ("types", types)):
            rows = (f"  {json.dumps(name)}: {dump(row)}" for name, row in group.items())
            parts.append(f" {json.dumps(key)}: {{\n" + ",\n".join(rows) + "\n }")
        kinds = ",\n".join(f"  {dump(each)}" for each in categories(set(catalog.names())))
        parts.append(f' "categories": [\n{kinds}\n ]')
        stream.write("{\n" + ",\n".join(parts) + "\n}\n")


def dump(row: Any) -> str:
    return json.dumps(row, sort_keys=True, separators=(",", ":"))


if __name__ == "__main__":
    main()
