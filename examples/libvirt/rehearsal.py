"""A host update, rehearsed on ten domains: `python3 examples/libvirt/rehearsal.py --help`.

Ten guests count, each on its serial line. They are saved, libvirtd is stopped and comes back, the
emulator is another one, and they are restored. The report says for each how long that took, and
whether its guest went on where it had stopped. Wants libvirt-python and root.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import libvirt

VMD = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "vmd"
PATIENCE = 60
COUNTED = 3
XML = """<domain type='{kind}'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <serial type='file'><source path='{log}' append='on'/></serial>
  </devices>
</domain>"""


class Row(NamedTuple):
    """What the report says of one domain. Times in seconds."""

    name: str
    saving: float
    restoring: float
    last_before: int
    first_after: int

    @property
    def went_on(self) -> bool:
        return self.first_after == self.last_before + 1


class Rehearsal:
    """The domains, their logs, and the connection to libvirt."""

    def __init__(self, uri: str | None, count: int, place: Path) -> None:
        self.uri = uri
        self.names = [f"rehearsal-{number:02}" for number in range(1, count + 1)]
        self.place = place
        self.connection = libvirt.open(uri)

    def describe(self, name: str, emulator: str) -> str:
        """A domain; with KVM where libvirt finds one."""
        try:
            self.connection.getDomainCapabilities(emulator, "x86_64", "q35", "kvm")
            kind = "kvm"
        except libvirt.libvirtError:
            kind = "qemu"
        return XML.format(kind=kind, name=name, emulator=emulator, log=self.log(name))

    def log(self, name: str) -> Path:
        return self.place / f"{name}.log"

    def counted(self, name: str) -> list[int]:
        """The numbers that a guest has said."""
        text = self.log(name).read_text() if self.log(name).exists() else ""
        return [int(number) for number in re.findall(r"^count (\d+)\r?\n", text, re.MULTILINE)]

    def until_counted(self, name: str, more_than: int) -> list[int]:
        """Wait until a guest has said more than so many numbers."""
        end = time.monotonic() + PATIENCE
        while len(self.counted(name)) <= more_than:
            if time.monotonic() > end:
                sys.exit(f"{name} does not count")
            time.sleep(0.02)
        return self.counted(name)

    def start(self, emulator: str) -> None:
        for name in self.names:
            self.connection.defineXML(self.describe(name, emulator)).create()
        for name in self.names:
            self.until_counted(name, COUNTED)

    def save(self) -> dict[str, float]:
        """Managed save of all; how long each took."""
        return {name: self._timed(lambda d: d.managedSave(0), name) for name in self.names}

    def update(self, emulator: str, restart: str | None) -> None:
        """What an update of the host does: libvirtd is started anew, the emulator is replaced."""
        if restart is not None:
            self.connection.close()
            subprocess.run(restart, shell=True, check=True)
            self._reconnect()
        for name in self.names:
            domain = self.connection.lookupByName(name)
            xml = self.describe(name, emulator)
            self.connection.defineXML(xml.replace("</name>", f"</name><uuid>{uuid(domain)}</uuid>"))
            saved = domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
            before, _, rest = saved.partition("<emulator>")
            after = rest.partition("</emulator>")[2]
            domain.managedSaveDefineXML(f"{before}<emulator>{emulator}</emulator>{after}")

    def restore(self) -> dict[str, float]:
        return {name: self._timed(lambda d: d.create(), name) for name in self.names}

    def end(self) -> None:
        """Leave nothing behind."""
        for name in self.names:
            try:
                domain = self.connection.lookupByName(name)
            except libvirt.libvirtError:
                continue
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)

    def _timed(self, action: object, name: str) -> float:
        assert callable(action)
        began = time.monotonic()
        action(self.connection.lookupByName(name))
        return time.monotonic() - began

    def _reconnect(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.connection = libvirt.open(self.uri)
                return
            except libvirt.libvirtError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def uuid(domain: libvirt.virDomain) -> str:
    return str(domain.UUIDString())


def report(rows: list[Row]) -> None:
    print(f"{'domain':14} {'saved in':>9} {'back in':>9} {'last before':>12} {'first after':>12}")
    for row in rows:
        verdict = "went on" if row.went_on else "LOST"
        times = f"{row.saving:7.2f} s {row.restoring:7.2f} s"
        print(f"{row.name:14} {times} {row.last_before:12} {row.first_after:12}  {verdict}")
    lost = sum(not row.went_on for row in rows)
    verdict = "all went on where they had stopped" if not lost else f"{lost} did not go on"
    print(f"\n{len(rows)} domains: {verdict}.")


def rehearse(rehearsal: Rehearsal, old: str, new: str, restart: str | None) -> list[Row]:
    print(f"{len(rehearsal.names)} domains start on {old}.", flush=True)
    rehearsal.start(old)
    saving = rehearsal.save()
    before = {name: rehearsal.counted(name) for name in rehearsal.names}
    print(f"They are saved. The host is updated: from now on they run on {new}.", flush=True)
    rehearsal.update(new, restart)
    restoring = rehearsal.restore()
    print("They are back.\n", flush=True)
    rows = []
    for name in rehearsal.names:
        said = rehearsal.until_counted(name, len(before[name]))
        first = said[len(before[name])]
        rows.append(Row(name, saving[name], restoring[name], before[name][-1], first))
    return rows


def main() -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    parser = argparse.ArgumentParser(description="Rehearse a host update on domains that run vmd.")
    parser.add_argument(
        "--uri", help="libvirt's address; else LIBVIRT_DEFAULT_URI, or its own idea"
    )
    parser.add_argument("--domains", type=int, default=10, help="how many (10)")
    parser.add_argument("--old", default=str(VMD), help="the emulator before the update")
    parser.add_argument("--new", default=str(VMD), help="the emulator after it")
    parser.add_argument("--restart", help="a command that restarts libvirtd in between")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="rehearsal-"))
    rehearsal = Rehearsal(given.uri, given.domains, place)
    try:
        rows = rehearse(rehearsal, given.old, given.new, given.restart)
    finally:
        rehearsal.end()
        shutil.rmtree(place)
    report(rows)
    sys.exit(0 if all(row.went_on for row in rows) else 1)


if __name__ == "__main__":
    main()
