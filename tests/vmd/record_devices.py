"""Ask real QEMU what its devices are, and keep the answers in `vmd/devices/device_types.json`.

Run by hand (`python tests/vmd/record_devices.py [qemu-system-x86_64]`) when there is a new QEMU to
follow, or a type is added. What is kept is described in vmd/devices/catalog.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

QEMU = sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64"
DATA = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "vmd", "devices", "device_types.json"
)
# What a user may plug, with what else it takes to plug one.
NODE = "-blockdev driver=null-co,node-name=n0,read-zeroes=on"
CDROM = "-blockdev driver=null-co,node-name=n0,read-only=on,read-zeroes=on"
XHCI = "-device qemu-xhci,id=usb"
SERIAL = "-device virtio-serial-pci,id=vs"
SCSI = "-device virtio-scsi-pci,id=scsi"
TRANSITIONAL = ("", "-transitional", "-non-transitional")
PLAIN = (
    *("pcie-root-port", "ioh3420", "pcie-pci-bridge", "i82801b11-bridge"),
    *("x3130-upstream", "qemu-xhci", "nec-usb-xhci", "piix3-usb-uhci", "piix4-usb-uhci"),
    *("ich9-usb-ehci1", "ich9-usb-ehci2", "usb-ehci", "pci-ohci"),
    *(f"ich9-usb-uhci{number}" for number in range(1, 7)),
    *("ich9-ahci", "lsi53c895a", "megasas", "mptsas1068", "pvscsi"),
    *("e1000", "e1000e", "rtl8139", "vmxnet3", "pcnet", "ne2k_pci"),
    *("VGA", "cirrus-vga", "bochs-display", "virtio-vga", "virtio-gpu-pci"),
    *("virtio-keyboard-pci", "virtio-mouse-pci", "virtio-tablet-pci"),
    *("pvpanic", "pvpanic-pci", "vmcoreinfo", "vmgenid", "isa-debug-exit", "i6300esb", "ib700"),
    *("pci-testdev", "edu", "mc146818rtc", "isa-fdc"),
    *(f"virtio-{kind}-pci{end}" for kind in ("balloon", "net", "rng") for end in TRANSITIONAL),
    *(f"virtio-{kind}-pci{end}" for kind in ("scsi", "serial") for end in TRANSITIONAL),
)
WITH: dict[str, tuple[str, str]] = {  # other options, properties
    **{f"virtio-blk-pci{end}": (NODE, "drive=n0") for end in TRANSITIONAL},
    **{f"usb-{kind}": (XHCI, "") for kind in ("hub", "kbd", "mouse", "tablet")},
    "xio3130-downstream": ("-device x3130-upstream,id=up", "bus=up"),
    "pci-bridge": ("", "chassis_nr=1"),
    "pc-dimm": ("-object memory-backend-ram,id=m0,size=2M", "memdev=m0"),
    "nvme": ("", "serial=x"),
    "usb-storage": (f"{XHCI} {NODE}", "drive=n0"),
    "ide-hd": (NODE, "drive=n0"),
    "ide-cd": (CDROM, "drive=n0"),
    "scsi-hd": (f"{SCSI} {NODE}", "drive=n0"),
    "scsi-cd": (f"{SCSI} {CDROM}", "drive=n0"),
    "floppy": (f"-device isa-fdc {NODE}", "drive=n0"),
    "isa-serial": ("-chardev null,id=c", "chardev=c"),
    "pci-serial": ("-chardev null,id=c", "chardev=c"),
    "isa-parallel": ("-chardev null,id=c", "chardev=c"),
    "isa-debugcon": ("-chardev null,id=c", "chardev=c"),
    "virtconsole": (f"{SERIAL} -chardev null,id=c", "chardev=c"),
    "virtserialport": (SERIAL, ""),
}
# What this host has no hardware for. Of such a type only the properties are asked; what it is on
# the PCI bus is that of a network function, or of the type that it is like.
NETWORK_FUNCTION = {
    "qdev_id": "dev",
    "slot": 0,
    "function": 0,
    "class_info": {"class": 512, "desc": "Ethernet controller"},
    "id": {"device": 0x10ED, "subsystem": 0, "subsystem-vendor": 0x8086, "vendor": 0x8086},
    "irq_pin": 0,
    "regions": [
        {
            "bar": bar,
            "type": "memory",
            "address": -1,
            "size": 16384,
            "prefetch": False,
            "mem_type_64": True,
        }
        for bar in (0, 3)
    ],
}
SIMULATED: dict[str, str | None] = {"vfio-pci": None, "vhost-scsi-pci": "virtio-scsi-pci"}
BUILT_IN = {
    "q35": ("mch", "ICH9-LPC", "ICH9-SMB", "q35-pcihost"),
    "pc": ("i440FX", "PIIX3", "piix3-ide", "PIIX4_PM", "i440FX-pcihost"),
}
# Others that are in boards, under TCG or under KVM; they are not on a PCI bus.
ON_BOARD = (
    *("isa-pit", "isa-i8259", "ioapic", "apic", "kvm-pit", "kvm-i8259", "kvm-ioapic", "kvm-apic"),
    *("kvmclock", "kvmvapic", "hpet", "port92", "vmport", "isa-pcspk", "smbus-eeprom", "fw_cfg_io"),
)
BUS_WORD = re.compile(r'^name "([^"]+)"(?:, bus ([^,\n]+))?(?:, alias "([^"]+)")?', re.M)
BASE = "-S -nodefaults -display none -qmp stdio -m 16,slots=2,maxmem=64M"


class Qemu:
    """A running QEMU, asked over its standard streams."""

    def __init__(self, arguments: str, base: str = BASE) -> None:
        argv = [QEMU, *arguments.split(), *base.split()]
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.ask("qmp_capabilities")

    def reply(self, command: str, **arguments: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        question = {"execute": command, "arguments": arguments}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            answer = json.loads(line)
            if "return" in answer or "error" in answer:
                return answer
        raise SystemExit(f"{self.process.args}: ended at {question}")

    def ask(self, command: str, **arguments: Any) -> Any:
        return self.reply(command, **arguments).get("return")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def is_of_instances(name: str, kind: str) -> bool:
    """What differs from object to object: children, links, and inner wires."""
    return kind.startswith(("child<", "link<irq>")) or name.startswith("unnamed-gpio")


def object_at(qemu: Qemu, path: str) -> dict[str, Any]:
    """Values of an object's properties, and its children that are buses or devices."""
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    children: dict[str, str] = {}
    for entry in qemu.ask("qom-list", path=path):
        name, kind = entry["name"], entry["type"]
        if kind.startswith("child<"):
            if not kind.startswith(("child<memory-region", "child<irq", "child<qemu:")):
                children[name] = kind[6:-1]
        elif not is_of_instances(name, kind):
            types[name] = kind
            answer = qemu.reply("qom-get", path=path, property=name)
            if "return" in answer:
                values[name] = answer["return"]
    return {"types": types, "values": values, "children": children}


def pci_of(qemu: Qemu, identifier: str | None, slot: tuple[int, int] | None) -> Any:
    """What query-pci tells of a device, wherever it is."""
    pending = [device for bus in qemu.ask("query-pci") or [] for device in bus["devices"]]
    while pending:
        device = pending.pop()
        place = (device["slot"], device["function"])
        if (identifier and device["qdev_id"] == identifier) or (slot and place == slot):
            return device
        pending += device.get("pci_bridge", {}).get("devices", [])
    return None


def instance(name: str) -> dict[str, Any]:
    """The type, plugged into a q35."""
    options, properties = WITH.get(name, ("", ""))
    words = ",".join(filter(None, (name, "id=dev", properties)))
    qemu = Qemu(f"-machine q35 {options} -device {words}")
    found = object_at(qemu, "/machine/peripheral/dev")
    if "virtio-backend" in found["children"]:
        found["backend"] = object_at(qemu, "/machine/peripheral/dev/virtio-backend")
    pci = pci_of(qemu, "dev", None)
    qemu.close()
    for given in filter(None, properties.split(",")):
        found["values"].pop(given.partition("=")[0], None)
    return found | ({"pci": pci} if pci else {})


def simulated(name: str) -> dict[str, Any]:
    """A type that cannot be plugged here: what is like it, or nothing, tells its values."""
    like = SIMULATED[name]
    if like is None:
        values = {"failover_pair_id": "", "romfile": ""}
        return {"types": {}, "values": values, "children": {}, "pci": NETWORK_FUNCTION}
    found = instance(like)
    found["backend"] = {"types": {}, "values": {}, "children": {}}
    found["children"] = {"virtio-backend": name.removesuffix("-pci")}
    return found


def built_in(machine: str) -> dict[str, Any]:
    """What query-pci tells of the devices that a board has anyway."""
    qemu = Qemu(f"-machine {machine}")
    pcis = [device for bus in qemu.ask("query-pci") for device in bus["devices"]]
    qemu.close()
    return {"pci": pcis}


def compact(raw: dict[str, Any]) -> dict[str, Any]:
    """What is kept: every property once, and of each type what its parent has not."""
    table: list[list[Any]] = []
    places: dict[str, int] = {}

    def place(entry: dict[str, Any]) -> int:
        row = [entry["name"], entry["type"]]
        row += [entry["default-value"]] if "default-value" in entry else []
        key = json.dumps(row)
        if key not in places:
            places[key] = len(table)
            table.append(row)
        return places[key]

    lineage = raw["lineage"]
    types: dict[str, Any] = {}
    for name, entry in sorted(lineage.items()):
        parent = entry["parent"]
        inherited = lineage[parent]["properties"] if parent else []
        known = {(p["name"], p["type"], json.dumps(p.get("default-value"))) for p in inherited}
        own = [
            place(p)
            for p in entry["properties"]
            if (p["name"], p["type"], json.dumps(p.get("default-value"))) not in known
        ]
        types[name] = [parent, int(entry["abstract"]), own]
    devices = {name: _device(entry, lineage[name]) for name, entry in raw["types"].items()}
    boards = {name: [_pci(each) for each in board["pci"]] for name, board in raw["boards"].items()}
    return {"properties": table, "types": types, "devices": devices, "boards": boards}


OF_THE_OBJECT = (
    *("type", "parent_bus", "realized", "hotplugged", "hotpluggable", "addr", "legacy-addr"),
    *("busnr", "drive", "chardev", "host", "slot"),
    *("channel", "chassis_nr", "index", "iobase", "lun", "nr", "scsi-id", "subsys", "unit"),
)


def _told(values: dict[str, Any], properties: list[dict[str, Any]]) -> dict[str, Any]:
    defaults = {p["name"]: p.get("default-value") for p in properties}
    return {
        name: value
        for name, value in sorted(values.items())
        if name not in OF_THE_OBJECT and (name not in defaults or defaults[name] != value)
    }


def _buses(children: dict[str, str]) -> list[list[str]]:
    """Types and ends of the names of the buses that a device brings."""
    found = [(name, kind) for name, kind in children.items() if re.fullmatch(r"dev(\.\d)?", name)]
    found += [(name, kind) for name, kind in children.items() if re.fullmatch(r"vs\.\d", name)]
    return [[kind, name.removeprefix("dev")] for name, kind in sorted(found)]


def _pci(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {key: entry[key] for key in ("class_info", "id", "irq_pin", "regions")}
    place = {"slot": entry["slot"], "function": entry["function"]}
    return (place if not entry["qdev_id"] else {}) | kept


def _device(entry: dict[str, Any], kind: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("bus", "alias"):
        if entry[key] is not None:
            found[key] = entry[key]
    attempt = entry["attempt"]
    if "expects a pluggable" in attempt:
        found["pluggable"] = False
    refused = attempt.endswith("does not support hotplugging") and attempt.startswith("Device")
    if refused or entry["fixed"]:
        found["hotpluggable"] = False
    if entry["instance"] is None:
        return found
    example = entry["instance"]
    found["values"] = _told(example["values"], kind["properties"])
    buses = _buses(example["children"])
    if "backend" in example:
        backend = example["backend"]
        buses += _buses(backend["children"])
        inner = {k: v for k, v in backend["values"].items() if k not in example["values"]}
        found["backend"] = {
            "type": example["children"]["virtio-backend"],
            "values": {k: v for k, v in sorted(inner.items()) if k not in OF_THE_OBJECT},
        }
    if buses:
        found["buses"] = buses
    if "pci" in example:
        found["pci"] = _pci(example["pci"])
        found["pci"].pop("slot", None), found["pci"].pop("function", None)
    return found


def never_hotplugged(names: list[str]) -> set[str]:
    """Of these a default that nobody uses is complained about."""
    rules = [word for name in names for word in ("-global", f"{name}.x=y")]
    command = [QEMU, *["-machine", "none", "-display", "none", "-monitor", "stdio"], *rules]
    done = subprocess.run(command, input="quit\n", capture_output=True, text=True, check=True)
    return set(re.findall(r"global (\S+)\.x=y not used", done.stderr))


def main() -> None:
    listing = subprocess.run([QEMU, "-device", "help"], capture_output=True, text=True).stdout
    buses = {name: (bus or None, alias or None) for name, bus, alias in BUS_WORD.findall(listing)}
    qemu = Qemu("-machine q35")
    parents = {
        entry["name"]: entry.get("parent") for entry in qemu.ask("qom-list-types", abstract=True)
    }
    abstract = {e["name"] for e in qemu.ask("qom-list-types", abstract=True) if e.get("abstract")}
    of_boards = (*(name for group in BUILT_IN.values() for name in group), *ON_BOARD)
    names = [*PLAIN, *WITH, *SIMULATED, *of_boards]
    raw: dict[str, Any] = {}
    backends = set()
    for name in names:
        entry: dict[str, Any] = {"instance": None}
        if name in PLAIN or name in WITH:
            entry["instance"] = instance(name)
        elif name in SIMULATED:
            entry["instance"] = simulated(name)
        if entry["instance"] is not None and "backend" in entry["instance"]:
            backends.add(entry["instance"]["children"]["virtio-backend"])
        attempt = qemu.reply("device_add", driver=name)
        entry["attempt"] = attempt.get("error", {}).get("desc", "")
        raw[name] = entry
        print(name, entry["attempt"], flush=True)
    everything = [*names, *sorted(backends)]
    fixed = never_hotplugged(everything)
    for name in everything:
        entry = raw.setdefault(name, {"instance": None, "attempt": ""})
        entry["fixed"] = name in fixed
        entry["bus"], entry["alias"] = buses.get(name, (None, None))
        entry["device"] = qemu.ask("device-list-properties", typename=name)
    lineage = {}
    pending = list(everything)
    while pending:
        name = pending.pop()
        if name in lineage:
            continue
        listed = qemu.ask("qom-list-properties", typename=name) or []
        lineage[name] = {
            "parent": parents[name],
            "abstract": name in abstract,
            "properties": listed,
        }
        if parents[name] is not None:
            pending.append(parents[name])
    qemu.close()
    boards = {name: built_in(name) for name in BUILT_IN}
    kept = compact({"types": raw, "lineage": lineage, "boards": boards})
    with open(DATA, "w", encoding="ascii") as stream:
        lines = []
        for key, group in kept.items():
            rows = group.items() if isinstance(group, dict) else ((None, row) for row in group)
            body = ",\n".join(
                (f"  {json.dumps(name)}: " if name else "  ") + json.dumps(row, sort_keys=True)
                for name, row in rows
            )
            opening, closing = "{}" if isinstance(group, dict) else "[]"
            lines.append(f" {json.dumps(key)}: {opening}\n{body}\n {closing}")
        stream.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
