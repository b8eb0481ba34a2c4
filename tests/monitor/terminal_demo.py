"""The demo's table on the terminal that this program is started on.

SIGUSR1 lets `wait` end, SIGUSR2 prints a message from beside. Arguments: `history=FILE`,
`qemu` (no prompt_toolkit).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from monitor.dispatcher import Dispatcher
from monitor.hmp import Hmp, HmpCommand, HmpRegistry
from monitor.terminal import TerminalMonitor
from tests.monitor.demo import COMMANDS, Machine
from vmd.chardev import Host, create
from vmd.clock import RealClock


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 30.0  # what debug mode says of it would spoil the screen
    go_on, over = asyncio.Event(), asyncio.Event()

    def quit_(machine: Machine, hmp: Hmp) -> None:
        hmp.suspend()
        over.set()

    def ended_by(number: int) -> None:
        monitor.close()
        print(f"demo: terminating on signal {number}", file=sys.stderr)
        over.set()

    def wait(machine: Machine, hmp: Hmp) -> None:
        hmp.hold(until_signalled(hmp), interrupt=lambda: interrupted(hmp))

    def interrupted(hmp: Hmp) -> None:
        hmp.print("interrupted\n")
        go_on.set()

    async def until_signalled(hmp: Hmp) -> None:
        hmp.print("waiting\n")
        for number in range(3):
            hmp.status(f"{number} waits " + "x" * 100 * (number == 1))
        go_on.clear()
        await go_on.wait()
        hmp.print("waited\n")

    def fail(machine: Machine, hmp: Hmp) -> None:
        task.cancel()

    others = [command for command in COMMANDS if command.name != "quit|q"]
    registry = HmpRegistry(
        [
            *others,
            HmpCommand("quit|q", handler=quit_),
            HmpCommand("wait", handler=wait),
            HmpCommand("fail", handler=fail),
        ],
        block_names=lambda machine: ["d0"],
    )
    options = dict(word.partition("=")[::2] for word in sys.argv[1:])
    history = Path(options["history"]) if "history" in options else None
    lines = history.read_bytes().splitlines() if history and history.exists() else []

    def remember(line: bytes) -> None:
        if history:
            with history.open("ab") as file:
                file.write(line + b"\n")

    task = asyncio.current_task()
    assert task is not None
    device = create(
        "c", {"type": "stdio", "data": {}}, Host(RealClock(), print, print, print, over.set)
    )
    await device.open()
    monitor = TerminalMonitor(
        device,
        registry,
        Machine(),
        Dispatcher(),
        term=os.environ["TERM"],
        rich="qemu" not in options,
        lines=lines,
        remember=remember,
    )
    loop.add_signal_handler(signal.SIGTERM, ended_by, 15)
    loop.add_signal_handler(signal.SIGINT, ended_by, 2)
    loop.add_signal_handler(signal.SIGUSR1, go_on.set)
    monitor.shows_events = True
    loop.add_signal_handler(signal.SIGUSR2, monitor.event, "from beside")
    await over.wait()
    while device.backlog:  # the program's own end looks as often
        await RealClock().sleep(1_000_000)
    device.close()


if __name__ == "__main__":
    asyncio.run(main(), debug=True)
