"""Devices: plugged on the command line and while the machine runs, found, told, and taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, PC, Q35, capabilities, leave, load, save

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PORTS = (
    "-device pcie-root-port,id=rp1,chassis=1,addr=1 -device pcie-root-port,id=rp2,chassis=2,addr=2"
    " -device pcie-root-port,id=rp3,chassis=3,addr=3,hotplug=off"
    " -device qemu-xhci,id=usb -device virtio-serial-pci,id=vs,bus=rp2"
)


def _add(machine: Machine, driver: object = None, /, **properties: Any) -> None:
    given = {} if driver is None else {"driver": driver}
    given |= {name.replace("_", "-"): value for name, value in properties.items()}
    machine.qmp.execute("device_add", given)


def _named(names: tuple[str, ...]) -> Any:
    def view(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = [{k: v for k, v in e.items() if k != "description"} for e in entries]
        return sorted(
            (entry for entry in found if entry["name"] in names), key=lambda e: str(e["name"])
        )

    return view


def types_that_cannot_be_plugged(stage: Stage) -> None:
    machine = stage.start(f"{Q35} -S")
    _add(machine)
    _add(machine, 1)
    for driver in ("zz", "device", "cpu", "none-machine", "virtio-rng-device", "ICH9-LPC"):
        _add(machine, driver)
    for driver in ("usb-tablet", "scsi-hd", "virtserialport", "ide-hd", "isa-serial", "VGA"):
        _add(machine, driver, id="a")
    _add(machine, "virtio-rng-pci", id="a", zz=1)
    _add(machine, "virtio-rng-pci", id="a", bus="zz")
    _add(machine, "virtio-rng-pci", id="a", bus="isa.0")
    _add(machine, "virtio-rng", id="a", bus="pcie.0")
    leave(machine)
    machine = stage.start(NONE)
    _add(machine, "virtio-rng-pci")
    machine.qmp.execute("query-pci")
    leave(machine)


def mistakes_on_the_command_line(stage: Stage) -> None:
    for device in (
        *("zz", "virtio-rng-pci,id=9a", "virtio-rng-pci,zz=1", "virtio-rng-pci,bus=zz"),
        *("virtio-rng-pci,bus=isa.0", "virtio-rng-pci,addr=1f", "virtio-rng-pci,addr=zz"),
        *("virtio-rng-pci,vectors=zz", "virtio-rng-pci,multifunction=zz", "help=1,"),
        *("virtio-rng-pci,disable-legacy=zz", "virtio-rng-pci,rng=zz", "ICH9-LPC", "PIIX4_PM"),
        *("virtio-blk-pci", "virtio-blk-pci,drive=zz", "ide-hd", "ide-hd,drive=zz"),
        *("isa-serial,chardev=zz", "isa-serial,index=9", "isa-parallel", "virtserialport"),
        *("virtio-net-pci,netdev=zz", "virtio-net-pci,mac=zz", "pci-bridge,id=b"),
        *("ide-cd,bus=ide.0,unit=1", "ide-cd,bus=ide.9", "virtio-blk-device"),
    ):
        stage.refused(f"{Q35} -device {device}")
    for json in (
        '{"driver":"virtio-rng-pci","zz":1}',
        '{"driver":"virtio-rng-pci","vectors":"1"}',
        '{"driver":"virtio-rng-pci","multifunction":"on"}',
        '{"id":"a"}',
        "{",
    ):
        stage.refused(f"{Q35} -device '{json}'")


def two_devices_that_cannot_be_together(stage: Stage) -> None:
    for first, second in (
        ("virtio-rng-pci,addr=2,id=a", "virtio-rng-pci,addr=2,id=b"),
        ("virtio-rng-pci,id=a", "virtio-rng-pci,id=a"),
        ("virtio-balloon-pci", "virtio-balloon-pci"),
        ("pcie-root-port,id=a", "pcie-root-port,id=b"),
        ("pcie-root-port,addr=1", "pcie-root-port,addr=1.1,chassis=2"),
        ("ide-cd,bus=ide.0", "ide-cd,bus=ide.0"),
        ("ide-cd,bus=ide.0,unit=0", "ide-cd,bus=ide.0,unit=0"),
        ("vmcoreinfo", "vmcoreinfo"),
        ("pvpanic", "pvpanic"),
        ("virtio-serial-pci", "virtserialport,nr=50"),
        ("virtio-scsi-pci,id=s", "scsi-cd,bus=s.0,scsi-id=300"),
    ):
        stage.refused(f"{Q35} -device {first} -device {second}")
    twice = """-device '{"driver":"virtio-rng-pci","id":"a"}'"""
    stage.refused(f"{Q35} {twice} {twice}")


def defaults_of_the_users(stage: Stage) -> None:
    stage.refused(f"{Q35} -global VGA.zz=8 -device VGA")
    stage.refused(f"{Q35} -global virtio-rng-pci.vectors=zz -device virtio-rng-pci")
    for arguments in ("-global zz.a=1", "-global VGA.vgamem_mb=8", "-global ICH9-LPC.noreboot=off"):
        machine = stage.start(f"{Q35} -S {arguments}")
        leave(machine)
    machine = stage.start(f"{Q35} -S -global virtio-rng-pci.vectors=3 -device virtio-rng-pci,id=r")
    machine.qmp.execute("qom-get", {"path": "r", "property": "vectors"})
    leave(machine)


def devices_that_come_and_go(stage: Stage) -> None:
    machine = stage.start(f"{Q35} -S {PORTS}")
    _add(machine, "virtio-rng-pci", id="rp1", bus="rp1")
    _add(machine, "virtio-rng-pci", id="r1", bus="rp1")
    _add(machine, "virtio-rng-pci", id="r2", bus="rp1")
    _add(machine, "virtio-rng-pci", id="r2", bus="rp3")
    _add(machine, "virtio-rng-pci", id="r1", bus="rp1", addr="2")
    for addr in ("0.1", "zz", "20", "0.8"):
        _add(machine, "virtio-rng-pci", id="r3", bus="rp1", addr=addr)
    for value in (1, "zz"):
        _add(machine, "virtio-rng-pci", id="r3", bus="rp1", multifunction=value)
    for value in (-1, "zz", True, 1 << 32):
        _add(machine, "virtio-rng-pci", id="r3", bus="rp1", vectors=value)
    _add(machine, "virtio-rng-pci", id="r3", bus="rp1", rng="zz")
    _add(machine, "usb-tablet", id="t1")
    for port in ("1", "9", "zz"):
        _add(machine, "usb-tablet", id="t2", bus="usb.0", port=port)
    _add(machine, "virtserialport", id="p1")
    _add(machine, "virtserialport", id="p2", nr=1)
    _add(machine, "virtserialport", id="p2", nr=99)
    _add(machine, "virtserialport", id="p2", chardev="zz")
    _add(machine, "virtserialport", id="p2", bus="vs.0", nr=0)
    listed = _named(("rp1", "rp2", "rp3", "usb", "vs", "r1", "t1", "p1"))
    machine.qmp.execute("qom-list", {"path": "/machine/peripheral"}, view=listed)
    for name in ("zz", "/machine/unattached", "/machine/unattached/device[0]", "rp1"):
        machine.qmp.execute("device_del", {"id": name})
    for name in ("t1", "p1"):
        machine.qmp.execute("device_del", {"id": name})
        machine.qmp.wait("DEVICE_DELETED")
    machine.qmp.execute("device_del", {"id": "r1"})
    machine.qmp.execute("device_del", {"id": "r1"})
    machine.qmp.execute("qom-list", {"path": "/machine/peripheral"}, view=listed)
    machine.qmp.execute("system_reset")
    machine.qmp.wait("DEVICE_DELETED", device="r1")
    machine.qmp.execute("qom-list", {"path": "/machine/peripheral"}, view=listed)
    machine.qmp.execute("qom-list", {"path": "/machine/peripheral-anon"})
    leave(machine)


RNG = "-device virtio-rng-pci"
SLOTS = (
    (f"{PC} {RNG},id=r,addr=7 {RNG},id=s,addr=5 {RNG},id=t,addr=9", ("r", "t", "s")),
    (f"{PC} {RNG},id=r,addr=7,multifunction=on {RNG},id=s,addr=7.1", ("s",)),
    (
        f"{PC} -device pci-bridge,id=b1,chassis_nr=1 -device pci-bridge,id=b2,chassis_nr=2"
        f" {RNG},id=s,bus=b2,addr=3 {RNG},id=t,bus=b1,addr=4 {RNG},id=r,addr=9",
        ("s", "t", "r", "b1"),
    ),
)


def slots_that_are_given_up_at_a_reset(stage: Stage) -> None:
    listed = _named(("r", "s", "t", "b1", "b2"))
    for line, names in SLOTS:
        machine = stage.start(f"{line} -S")
        for name in names:
            machine.qmp.execute("device_del", {"id": name})
        machine.qmp.execute("system_reset")
        machine.qmp.wait("DEVICE_DELETED", device="t" if "t" in names else "r")
        machine.qmp.execute("device_del", {"id": names[-1]})
        machine.qmp.execute("qom-list", {"path": "/machine/peripheral"}, view=listed)
        leave(machine)


def a_slot_that_is_asked_for_and_then_moves(stage: Stage) -> None:
    line = f"{PC} -device pci-bridge,id=b,chassis_nr=1 {RNG},id=r,bus=b,addr=3 {RNG},id=s -S"
    machine = stage.start(line)
    capabilities(machine, "events")
    machine.qmp.execute("device_del", {"id": "r"})
    save(machine)
    machine.qmp.execute("device_del", {"id": "r"})
    leave(machine)
    for asked_again in (True, False):
        machine = stage.start(f"{line} -incoming defer")
        capabilities(machine, "events")
        load(machine)
        if asked_again:
            machine.qmp.execute("device_del", {"id": "r"})
        machine.qmp.execute("system_reset")
        machine.qmp.wait("DEVICE_DELETED", device="r")
        machine.qmp.execute("device_del", {"id": "r"})
        leave(machine)


def pci_functions(stage: Stage) -> None:
    for arguments in (f"{Q35} {PORTS}", PC, "-machine q35 -accel tcg -m 8 -device e1000,addr=5"):
        machine = stage.start(f"{arguments} -S")
        machine.qmp.execute("query-pci")
        leave(machine)


def properties_of_devices(stage: Stage) -> None:
    names = ("addr", "bus", "drive", "hotpluggable", "id", "multifunction", "realized", "serial")
    names += ("chardev", "port", "chassis", "vectors", "mac", "netdev", "noreboot", "zz", "rng")
    machine = stage.start(f"{Q35} -S {PORTS} -device virtio-rng-pci,id=r,bus=rp1")
    for kind in (
        *("virtio-blk-pci", "virtio-rng-pci", "pcie-root-port", "isa-serial", "ICH9-LPC", "VGA"),
        *("virtio-net-pci", "ide-hd", "pci-device", "virtio-pci", "virtio-rng-device", "PIIX4_PM"),
    ):
        for command in ("device-list-properties", "qom-list-properties"):
            machine.qmp.execute(command, {"typename": kind}, view=_named(names))
    for path in ("r", "rp1", "usb", "vs", "r/virtio-backend"):
        for name in (
            *(
                "type",
                "parent_bus",
                "realized",
                "hotplugged",
                "hotpluggable",
                "addr",
                "legacy-addr",
            ),
            *("legacy-addr", "multifunction", "vectors", "chassis", "port", "slot"),
            *("max_ports", "max-bytes"),
        ):
            machine.qmp.execute("qom-get", {"path": path, "property": name})
    machine.qmp.execute("qom-set", {"path": "r", "property": "vectors", "value": 3})
    leave(machine)
