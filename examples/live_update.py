"""A live update over QMP, with the qemu.qmp client: `python live_update.py [PROGRAM]`.

PROGRAM is the `vmd` beside this Python unless given; `qemu-system-x86_64` does as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from qemu.qmp import EventListener, QMPClient

VMD = str(Path(sys.executable).with_name("vmd"))
MACHINE = (
    "-machine none,memory-backend=ram0 -m 1G -display none"
    " -object memory-backend-file,id=ram0,size=1G,mem-path=ram0,share=on"
)


async def start(
    program: str, place: str, *more: str
) -> tuple[QMPClient, asyncio.subprocess.Process]:
    """A machine that connects to us, with what a live update needs switched on."""
    client = QMPClient("live-update")
    await client.start_server(f"{place}/qmp.sock")
    arguments = [*MACHINE.split(), "-qmp", "unix:qmp.sock", *more]
    process = await asyncio.create_subprocess_exec(program, *arguments, cwd=place)
    await client.accept()
    names = ("x-ignore-shared", "events")
    capabilities = [{"capability": name, "state": True} for name in names]
    await client.execute("migrate-set-capabilities", {"capabilities": capabilities})
    await client.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    return client, process


async def migrate(client: QMPClient, command: str) -> None:
    """Run `migrate` or `migrate-incoming`, showing every event up to `completed`."""
    with client.listener() as events:
        await client.execute(command, {"uri": "file:vm.state"})
        await show(events)
    print("status:", (await client.execute("query-status"))["status"])


async def show(events: EventListener) -> None:
    """Print events until the migration is over."""
    async for event in events:
        print(" ", event["event"], event.get("data", ""))
        if event.get("data", {}).get("status") in ("completed", "failed"):
            break


async def end(client: QMPClient, process: asyncio.subprocess.Process) -> None:
    """Quit, and wait for the process."""
    await client.execute("quit")
    with contextlib.suppress(EOFError):  # the machine hangs up first
        await client.disconnect()
    await process.wait()


async def main(program: str) -> None:
    """Save in one process, go on in the next."""
    with tempfile.TemporaryDirectory() as place:
        client, process = await start(program, place)
        print("migrate")
        await migrate(client, "migrate")
        await end(client, process)

        client, process = await start(program, place, "-incoming", "defer")
        print("migrate-incoming")
        await migrate(client, "migrate-incoming")
        await end(client, process)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else VMD))
