"""The demo's table on the terminal that this program is started on.

SIGUSR1 lets `wait` end, SIGUSR2 prints a message from beside. An argument is the history's file.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from monitor.dispatcher import Dispatcher
from monitor.hmp import Hmp, HmpCommand, HmpRegistry
from monitor.terminal import TerminalMonitor
from tests.monitor.demo import COMMANDS, Machine


async def main() -> None:
    loop = asyncio.get_running_loop()
    go_on = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, go_on.set)

    def quit_(machine: Machine, hmp: Hmp) -> None:
        hmp.suspend()
        monitor.close()

    def interrupt() -> None:
        print("demo: terminating on signal 2", file=sys.stderr)
        monitor.close()

    def terminate() -> None:
        print("demo: terminating on signal 15", file=sys.stderr)
        monitor.close()

    def wait(machine: Machine, hmp: Hmp) -> None:
        hmp.hold(until_signalled(hmp))

    async def until_signalled(hmp: Hmp) -> None:
        hmp.print("waiting\n")
        await go_on.wait()
        hmp.print("waited\n")

    def fail(machine: Machine, hmp: Hmp) -> None:
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, interrupt)
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
    monitor = TerminalMonitor(
        registry,
        Machine(),
        Dispatcher(),
        on_interrupt=interrupt,
        history_file=sys.argv[1] if len(sys.argv) > 1 else None,
    )
    loop.add_signal_handler(signal.SIGUSR2, lambda: monitor.message("from beside\n"))
    task = asyncio.create_task(monitor.run())
    await task


if __name__ == "__main__":
    asyncio.run(main(), debug=True)
