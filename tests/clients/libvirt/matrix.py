"""Every virsh command about domains, run on real QEMU and on vmd, and what came of it.

`python -m tests.clients.libvirt.matrix` runs all of them on both (as root, where libvirtd and real
QEMU are installed) and keeps the outcomes in `matrix.json`; `make docs` makes a table of them.
"""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.clients.libvirt.host import Host, VirshError
from tests.differential.stage import find_qemu, find_vmd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RECORD = Path(__file__).with_name("matrix.json")
MIB = 1 << 20
WORKS = "yes"
GROUPS = ("domain", "monitor", "snapshot", "checkpoint", "backup")


class Row(NamedTuple):
    """A command, what must be before it, and how it is called; `{n}` is the domain, `{d}` a place.

    `state` is "running", "off" or "none" (not defined). `before` are calls whose failure does not
    matter. Without `words` it is not run, and `reason` says why. The next one gets a new domain,
    unless the command only looks (LOOKING).
    """

    command: str
    words: str = ""
    state: str = "running"
    before: tuple[str, ...] = ()
    reason: str = ""


UUID = "5d7ab5a3-1c1a-4f0c-9a6c-0123456789ab"
SAVED = ("managedsave {n}", "managedsave-dumpxml {n} > {d}/saved.xml")
SAVED_FILE = ("save {n} {d}/saved", "save-image-dumpxml {d}/saved > {d}/saved.xml")
TOP = "snapshot-create-as {n} top --disk-only --no-metadata --diskspec vdb,file={d}/top.qcow2"
THROTTLE = "domthrottlegroupset {n} limits --total-iops-sec 100"
NO_GUEST = "needs a guest with an agent; neither has one"
TTY = "takes the terminal; the console is read in the tests"
TWO_HOSTS = "needs a second host"
EDITOR = "opens an editor on what the command beside it prints and takes"

# In the order of `virsh help`.
ROWS = (
    Row("attach-device", "{n} {d}/disk.xml --live"),
    Row("attach-disk", "{n} {d}/other.img vdd --subdriver raw --live"),
    Row("attach-interface", "{n} user anything --model virtio --live"),
    Row("autostart", "{n}"),
    Row("blkdeviotune", "{n} vda --total-iops-sec 1000"),
    Row("domthrottlegroupset", "{n} limits --total-iops-sec 100"),
    Row("domthrottlegroupdel", "{n} limits", before=(THROTTLE,)),
    Row("domthrottlegroupinfo", "{n} limits", before=(THROTTLE,)),
    Row("domthrottlegrouplist", "{n}"),
    Row("blkiotune", "{n}"),
    Row("blockcommit", "{n} vdb --active --pivot --wait", before=(TOP,)),
    Row("blockcopy", "{n} vdb {d}/copy.qcow2 --wait --finish --transient-job"),
    Row("blockjob", "{n} vdb --info"),
    Row("blockpull", "{n} vdb --wait", before=(TOP,)),
    Row("blockresize", "{n} vda 16M"),
    Row("change-media", "{n} sda {d}/other.img --insert"),
    Row("console", reason=TTY),
    Row("cpu-stats", "{n} --total"),
    Row("create", "{d}/plain.xml", state="none"),
    Row("define", "{d}/plain.xml", state="none"),
    Row("desc", "{n} words --live"),
    Row("destroy", "{n}"),
    Row("detach-device", "{n} {d}/tablet.xml --live"),
    Row("detach-device-alias", "{n} ua-mouse --live"),
    Row("detach-disk", "{n} sdc --live"),
    Row("detach-interface", "{n} user --live"),
    Row("domdisplay", "{n}"),
    Row("domfsfreeze", "{n}"),
    Row("domfsthaw", "{n}"),
    Row("domfsinfo", "{n}"),
    Row("domfstrim", "{n}"),
    Row("domhostname", "{n} --source agent"),
    Row("domid", "{n}"),
    Row("domif-setlink", "{n} 52:54:00:00:00:01 down"),
    Row("domiftune", "{n} 52:54:00:00:00:01"),
    Row("domjobabort", "{n}"),
    Row("domjobinfo", "{n}"),
    Row("domlaunchsecinfo", "{n}"),
    Row("domsetlaunchsecstate", "{n} --secrethdr {d}/plain.xml --secret {d}/plain.xml"),
    Row("domname", UUID),
    Row("domrename", "{n} {n}-renamed", state="off"),
    Row("dompmsuspend", "{n} mem"),
    Row("dompmwakeup", "{n}"),
    Row("domuuid", "{n}"),
    Row("domxml-from-native", "qemu-argv {d}/plain.xml"),
    Row("domxml-to-native", "qemu-argv --domain {n}"),
    Row("dump", "{n} {d}/core --memory-only"),
    Row("dumpxml", "{n}"),
    Row("edit", reason=EDITOR),
    Row("get-user-sshkeys", "{n} root"),
    Row("inject-nmi", "{n}"),
    Row("iothreadinfo", "{n}"),
    Row("iothreadpin", "{n} 1 0"),
    Row("iothreadadd", "{n} 2 --live"),
    Row("iothreadset", "{n} 1 --poll-max-ns 1000 --live"),
    Row("iothreaddel", "{n} 2 --live", before=("iothreadadd {n} 2 --live",)),
    Row("send-key", "{n} KEY_A"),
    Row("send-process-signal", "{n} 1 sigterm"),
    Row("lxc-enter-namespace", "{n} /bin/true"),
    Row("managedsave", "{n}"),
    Row("managedsave-remove", "{n}", state="off", before=("start {n}", "managedsave {n}")),
    Row("managedsave-edit", reason=EDITOR),
    Row("managedsave-dumpxml", "{n}", before=SAVED),
    Row("managedsave-define", "{n} {d}/saved.xml", before=SAVED),
    Row("memtune", "{n}"),
    Row("perf", "{n}"),
    Row("metadata", "{n} --uri urn:x --key k --set <a/>"),
    Row("migrate", reason=TWO_HOSTS),
    Row("migrate-setmaxdowntime", "{n} 300"),
    Row("migrate-getmaxdowntime", "{n}"),
    Row("migrate-compcache", "{n}"),
    Row("migrate-setspeed", "{n} 100"),
    Row("migrate-getspeed", "{n}"),
    Row("migrate-postcopy", "{n}"),
    Row("numatune", "{n}"),
    Row("qemu-attach", "1"),
    Row("qemu-monitor-command", "{n} --hmp info status"),
    Row("qemu-monitor-event", "{n} --timeout 1"),
    Row("qemu-agent-command", '{n} {{"execute":"guest-ping"}}'),
    Row("guest-agent-timeout", "{n} --timeout 5"),
    Row("reboot", "{n} --mode acpi"),
    Row("reset", "{n}"),
    Row("restore", "{d}/saved", before=SAVED_FILE),
    Row("resume", "{n}", before=("suspend {n}",)),
    Row("save", "{n} {d}/saved"),
    Row("save-image-define", "{d}/saved {d}/saved.xml", before=SAVED_FILE),
    Row("save-image-dumpxml", "{d}/saved", before=SAVED_FILE),
    Row("save-image-edit", reason=EDITOR),
    Row("schedinfo", "{n}"),
    Row("screenshot", "{n} {d}/screen"),
    Row("set-lifecycle-action", "{n} reboot destroy --live"),
    Row("set-user-sshkeys", "{n} root --reset"),
    Row("set-user-password", "{n} root secret"),
    Row("setmaxmem", "{n} 128M --config", state="off"),
    Row("setmem", "{n} 48M --live"),
    Row("setvcpus", "{n} 3 --live"),
    Row("shutdown", "{n} --mode acpi"),
    Row("start", "{n}", state="off"),
    Row("suspend", "{n}"),
    Row("ttyconsole", "{n}"),
    Row("undefine", "{n}", state="off"),
    Row("update-device", "{n} {d}/cdrom.xml --live"),
    Row("update-memory-device", "{n} --requested-size 8M"),
    Row("vcpucount", "{n}"),
    Row("vcpuinfo", "{n}"),
    Row("vcpupin", "{n} 0 0"),
    Row("emulatorpin", "{n} 0"),
    Row("vncdisplay", "{n}"),
    Row("guestvcpus", "{n}"),
    Row("setvcpu", "{n} 2 --enable --live"),
    Row("domblkthreshold", "{n} vdb 1M"),
    Row("guestinfo", "{n}"),
    Row("domdirtyrate-calc", "{n} --seconds 1"),
    Row("dom-fd-associate", "{n} fds --pass-fds 0", state="off"),
    Row("domdisplay-reload", "{n} --type 0"),
    Row("domblkerror", "{n}"),
    Row("domblkinfo", "{n} vda"),
    Row("domblklist", "{n}"),
    Row("domblkstat", "{n} vda"),
    Row("domcontrol", "{n}"),
    Row("domif-getlink", "{n} 52:54:00:00:00:01"),
    Row("domifaddr", "{n} --source agent"),
    Row("domiflist", "{n}"),
    Row("domifstat", "{n} 52:54:00:00:00:01"),
    Row("dominfo", "{n}"),
    Row("dommemstat", "{n}"),
    Row("domstate", "{n}"),
    Row("domstats", "{n}"),
    Row("domtime", "{n}"),
    Row("list", "--all"),
    Row("snapshot-create", "{n} --disk-only --no-metadata"),
    Row("snapshot-create-as", "{n} one"),
    Row("snapshot-current", "{n}", before=("snapshot-create-as {n} one",)),
    Row("snapshot-delete", "{n} one", before=("snapshot-create-as {n} one",)),
    Row("snapshot-dumpxml", "{n} one", before=("snapshot-create-as {n} one",)),
    Row("snapshot-edit", reason=EDITOR),
    Row("snapshot-info", "{n} one", before=("snapshot-create-as {n} one",)),
    Row("snapshot-list", "{n}"),
    Row("snapshot-parent", "{n} one", before=("snapshot-create-as {n} one",)),
    Row("snapshot-revert", "{n} one", before=("snapshot-create-as {n} one",)),
    Row("checkpoint-create", "{n}"),
    Row("checkpoint-create-as", "{n} one"),
    Row("checkpoint-delete", "{n} one", before=("checkpoint-create-as {n} one",)),
    Row("checkpoint-dumpxml", "{n} one", before=("checkpoint-create-as {n} one",)),
    Row("checkpoint-edit", reason=EDITOR),
    Row("checkpoint-info", "{n} one", before=("checkpoint-create-as {n} one",)),
    Row("checkpoint-list", "{n}"),
    Row("checkpoint-parent", "{n} one", before=("checkpoint-create-as {n} one",)),
    Row("backup-begin", "{n}"),
    Row("backup-dumpxml", "{n}", before=("backup-begin {n}",)),
)

LOOKING = """
    autostart blkiotune blockjob cpu-stats desc domdisplay domfsfreeze domfsthaw domfsinfo
    domfstrim domhostname domid domiftune domif-setlink domjobabort domjobinfo domlaunchsecinfo
    domname dompmwakeup domuuid domxml-from-native domxml-to-native dump dumpxml
    get-user-sshkeys inject-nmi iothreadinfo iothreadpin iothreadset send-key
    lxc-enter-namespace memtune perf metadata migrate-setmaxdowntime migrate-getmaxdowntime
    migrate-compcache migrate-setspeed migrate-getspeed migrate-postcopy numatune qemu-attach
    qemu-monitor-command qemu-monitor-event qemu-agent-command guest-agent-timeout schedinfo
    screenshot set-user-sshkeys set-user-password ttyconsole update-memory-device vcpucount
    vcpuinfo vcpupin emulatorpin vncdisplay guestvcpus domblkthreshold guestinfo
    domdirtyrate-calc domdisplay-reload domblkerror domblkinfo domblklist domblkstat domcontrol
    domif-getlink domifaddr domiflist domifstat dominfo dommemstat domstate domstats domtime
    list domthrottlegrouplist snapshot-list checkpoint-list
"""

DISK = (
    "<disk type='file' device='{kind}'><driver name='qemu' type='{format}'/>"
    "<source file='{place}/{name}'/><target dev='{target}' bus='{bus}'/>{more}</disk>"
)
TABLET = "<input type='tablet' bus='usb'/>"
CDROM = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
XML = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>
<memory unit='MiB'>64</memory><vcpu current='2'>4</vcpu><iothreads>1</iothreads>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<features><acpi/></features>
<devices><emulator>{emulator}</emulator>{devices}</devices></domain>"""


class Bench:
    """A domain with everything that the commands want, on one emulator."""

    def __init__(self, host: Host, emulator: str, name: str) -> None:
        self.host = host
        self.name = name
        self.emulator = emulator
        self.place = host.directory / name
        self.place.mkdir()
        self._as_new = ""  # the state in which the domain is as it was made
        _raw(self.place / "other.img", 4 * MIB)
        self._write("plain.xml", self._describe(f"{name}-plain", "", UUID[::-1]))
        self._write("disk.xml", self._disk("other.img", "vdc", "virtio", "raw", "<shareable/>"))
        self._write("cdrom.xml", CDROM)
        self._write("tablet.xml", TABLET)

    def run(self, rows: Iterable[Row] = ROWS) -> dict[str, str]:
        """What came of each command."""
        outcomes = {}
        for row in rows:
            if row.words:
                outcomes[row.command] = self.outcome(row)
                print(f"{row.command}: {outcomes[row.command]}", flush=True)
        self._away(self.name)
        return outcomes

    def outcome(self, row: Row) -> str:
        self._prepare(row)
        for line in row.before:
            self._call(line)
        said = self._call(f"{row.command} {row.words}")
        for name in (f"{self.name}-plain", f"{self.name}-renamed"):
            self._away(name)
        return said

    def _prepare(self, row: Row) -> None:
        """What one command did is nothing to the next."""
        as_new, self._as_new = self._as_new, row.state if row.command in LOOKING.split() else ""
        if row.state == as_new:
            return
        self._away(self.name)
        for file in ("saved", "core", "screen", "copy.qcow2", "top.qcow2"):
            (self.place / file).unlink(missing_ok=True)
        for name, size in (("a", 8), ("b", 16), ("usb", 1)):
            qcow2(self.place / f"{name}.qcow2", size * MIB)
        self._write("own.xml", self._describe(self.name, self._devices(), UUID))
        if row.state == "none":
            return
        self.host.virsh("define", str(self.place / "own.xml"))
        if row.state == "running":
            self.host.virsh("start", self.name)

    def _devices(self) -> str:
        return (
            self._disk("a.qcow2", "vda", "virtio", "qcow2")
            + self._disk("b.qcow2", "vdb", "virtio", "qcow2")
            + self._disk("usb.qcow2", "sdc", "usb", "qcow2")
            + f"{CDROM}<interface type='user'><mac address='52:54:00:00:00:01'/>"
            "<model type='virtio'/></interface><console type='pty'/>"
            "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
            f"{TABLET}<input type='mouse' bus='usb'><alias name='ua-mouse'/></input>"
            "<graphics type='vnc' autoport='yes'/><video><model type='vga'/></video>"
            "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
        )

    def _disk(self, name: str, target: str, bus: str, format: str, more: str = "") -> str:
        return DISK.format(
            kind="disk",
            format=format,
            place=self.place,
            name=name,
            target=target,
            bus=bus,
            more=more,
        )

    def _describe(self, name: str, devices: str, uuid: str) -> str:
        uuid = re.sub("[^0-9a-f-]", "0", uuid) if uuid == UUID else uuid.replace("-", "")
        return XML.format(name=name, uuid=uuid, emulator=self.emulator, devices=devices)

    def _write(self, name: str, text: str) -> None:
        (self.place / name).write_text(text)

    def _away(self, name: str) -> None:
        for line in (f"destroy {name}", f"undefine {name} --managed-save --snapshots-metadata"):
            self._call(line)

    def _call(self, line: str) -> str:
        words = [word.format(n=self.name, d=self.place) for word in line.split(" ") if word]
        if "info" in words and "--hmp" in words:
            words = [*words[:-2], "info status"]
        target = words[words.index(">") :] if ">" in words else []
        try:
            said = self.host.virsh(*words[: len(words) - len(target)])
        except VirshError as error:
            return self._normal(str(error))
        if target:
            Path(target[1]).write_text(said)
        return WORKS

    def _normal(self, text: str) -> str:
        """The error that says most, without what differs from run to run."""
        lines = [line.removeprefix("error: ") for line in text.splitlines() if line.strip()]
        said = lines[-1] if lines else "nothing happens in its time"
        for secret, name in ((str(self.place), "DIR"), (self.emulator, "EMULATOR")):
            said = said.replace(secret, name)
        said = said.replace(f"{self.name}-", "NAME-").replace(self.name, "NAME")
        return re.sub(r"\d{4,}|#block\d+|0x[0-9a-f]+", "N", said)


def _raw(path: Path, size: int) -> None:
    with path.open("wb") as image:
        image.truncate(size)


def qcow2(path: Path, size: int) -> None:
    """An image that is empty, and as small as such an image can be."""
    cluster = 1 << 16
    image = bytearray(4 * cluster)
    fields = (b"QFI\xfb", 3, 0, 0, 16, size, 0, 1, 3 * cluster, cluster, 1, 0, 0, 0, 0, 0, 4, 104)
    struct.pack_into(">4sIQIIQIIQQIIQQQQII", image, 0, *fields)
    struct.pack_into(">Q", image, cluster, 2 * cluster)
    struct.pack_into(">4H", image, 2 * cluster, 1, 1, 1, 1)
    path.write_bytes(image)


def commands_of_virsh(host: Host) -> list[str]:
    """The commands that virsh lists in our groups."""
    found = []
    for group in GROUPS:
        for line in host.virsh("help", group).splitlines()[1:]:
            if line.split():
                found.append(line.split()[0])
    return found


def recorded() -> dict[str, dict[str, str]]:
    """Emulator ("qemu", "vmd") → command → what came of it."""
    found: dict[str, dict[str, str]] = json.loads(RECORD.read_text())
    return found


def table() -> Iterator[str]:
    """The rows of docs/libvirt.md."""
    known = recorded()
    yield "| virsh | on QEMU | on vmd |"
    yield "| --- | --- | --- |"
    for row in ROWS:
        if not row.words:
            yield f"| `{row.command}` | not run | not run: {row.reason} |"
            continue
        qemu, vmd = (known[emulator][row.command] for emulator in ("qemu", "vmd"))
        same = "the same" if qemu == vmd and qemu != WORKS else vmd
        yield f"| `{row.command}` | {_cell(qemu)} | {_cell(same)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    qemu = find_qemu()
    if qemu is None:
        raise SystemExit("real QEMU is not installed: nothing to compare with")
    with tempfile.TemporaryDirectory(prefix="mx-") as directory:
        host = Host(Path(directory))
        try:
            wanted = sys.argv[1:] or ["qemu", "vmd"]
            known = recorded() if RECORD.exists() else {}
            for name, program in (("qemu", qemu), ("vmd", find_vmd())):
                if name in wanted:
                    known[name] = Bench(host, program.argv[0], f"mx{os.getpid()}-{name}").run()
                    RECORD.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
        finally:
            host.close()


if __name__ == "__main__":
    main()
