"""Who sends RAM in one migration: as records in the stream, or to places in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.memory.vectors import bring_numpy
from vmd.migration import save
from vmd.migration.ram import RamSaver
from vmd.migration.xbzrle import Xbzrle, check_room

if TYPE_CHECKING:
    from typing import Any, Protocol

    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.vm import Vm
    from vmd.migration.xbzrle import XbzrleCounters

    class Saver(Protocol):
        """One machine's RAM on its way out.

        `start` writes the START section, `send` a PART, `send_last` into the END section and
        `finish` its end; each says how many bytes it wrote. What a channel must be able to do,
        the saver says. `sync` belongs to the event loop, the rest may run in a worker thread.
        """

        total: int
        duplicate: int
        normal: int
        ram_bytes: int

        @property
        def pending(self) -> int: ...
        def sync(self) -> int: ...
        def start(self, channel: Any, before: bytes, after: bytes) -> int: ...
        def send(self, channel: Any, max_bytes: int) -> int: ...
        def send_last(self, channel: Any, max_bytes: int) -> int: ...
        def finish(self, channel: Any) -> int: ...
        def complaint(self, reason: str) -> str: ...
        def close(self) -> None: ...


def make_saver(vm: Vm, options: MigrationOptions, counters: XbzrleCounters) -> Saver:
    """The saver that the capabilities ask for. Imports numpy if there is RAM to send."""
    ignore_shared = options.is_on("x-ignore-shared")
    detect_zero = options.parameters["zero-page-detection"] != "none"
    section_id = save.ram_id(vm)
    saver: Saver
    if options.is_on("mapped-ram"):
        from vmd.migration.mapped_ram import MappedRamSaver

        saver = MappedRamSaver(
            vm.ram_blocks,
            ignore_shared=ignore_shared,
            detect_zero=detect_zero,
            section_id=section_id,
            direct=options.parameters["direct-io"] is True,
        )
    else:
        xbzrle = None
        if options.is_on("xbzrle"):
            check_room(options.number("xbzrle-cache-size"))
            xbzrle = Xbzrle(lambda: options.number("xbzrle-cache-size"), counters)
        saver = RamSaver(
            vm.ram_blocks,
            ignore_shared=ignore_shared,
            detect_zero=detect_zero,
            section_id=section_id,
            xbzrle=xbzrle,
        )
    if saver.total:
        bring_numpy()
    return saver
