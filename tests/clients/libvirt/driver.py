"""A client as people write one: libvirt-python takes a domain through its life, and listens.

Run as `PYTHON driver.py URI EMULATOR NAME DIRECTORY GUEST` by a Python that has libvirt-python;
prints what happened as one JSON document. GUEST is "answers" if the domain's guest takes part.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import libvirt

PATIENCE = 60
XML = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
<devices><emulator>{emulator}</emulator><console type='pty'/></devices></domain>"""
LIFE = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "shutdown",
}


class Ear:
    """What libvirt told of one domain, in order."""

    def __init__(self, connection: Any, name: str) -> None:
        self.heard: list[str] = []
        self._name = name
        self._news = threading.Condition()
        every = connection.domainEventRegisterAny
        every(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._life, None)
        every(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._reboot, None)
        every(None, libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, self._balloon, None)

    def _say(self, domain: Any, text: str) -> None:
        if domain.name() == self._name:
            with self._news:
                self.heard.append(text)
                self._news.notify_all()

    def _life(self, _: Any, domain: Any, event: int, detail: int, __: Any) -> None:
        self._say(domain, f"{LIFE.get(event, event)} {detail}")

    def _reboot(self, _: Any, domain: Any, __: Any) -> None:
        self._say(domain, "reboot")

    def _balloon(self, _: Any, domain: Any, actual: int, __: Any) -> None:
        self._say(domain, f"balloon {actual}")

    def until(self, start: str, count: int = 1) -> None:
        """Wait for so many words that begin so."""
        with self._news:
            enough = self._news.wait_for(
                lambda: sum(word.startswith(start) for word in self.heard) >= count, PATIENCE
            )
        if not enough:
            raise TimeoutError(f"no {start!r} in {self.heard}")


def turn() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def live(connection: Any, ear: Ear, name: str, emulator: str, directory: str) -> dict[str, Any]:
    """What every emulator can do."""
    told: dict[str, Any] = {}
    domain = connection.defineXML(XML.format(name=name, emulator=emulator))
    domain.create()
    told["info"] = domain.info()[:4]
    domain.suspend()
    told["paused"] = domain.state()
    domain.resume()
    path = f"{directory}/{name}.saved"
    domain.save(path)
    told["saved"] = domain.state()
    connection.restore(path)
    told["restored"] = domain.state()
    domain.reset(0)
    ear.until("reboot")
    domain.managedSave(0)
    told["kept"] = domain.hasManagedSaveImage(0)
    domain.create()
    told["stats"] = connection.domainListGetStats([domain])[0][1]["state.state"]
    return told


def main() -> None:
    uri, emulator, name, directory, guest = sys.argv[1:]
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=turn, daemon=True).start()
    connection = libvirt.open(uri)
    ear = Ear(connection, name)
    told = live(connection, ear, name, emulator, directory)
    domain = connection.lookupByName(name)
    if guest == "answers":
        domain.setMemoryFlags(32 << 10, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        ear.until("balloon 32768")
        domain.shutdown()
    else:
        domain.destroy()
    ear.until("stopped", 3)
    domain.undefine()
    ear.until("undefined")
    told["heard"] = ear.heard
    print(json.dumps(told))


if __name__ == "__main__":
    main()
