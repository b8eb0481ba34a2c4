"""The commands between sections: how long each is, what may not be said (migration/savevm.c)."""

from __future__ import annotations

import errno

from vmd.migration import stream
from vmd.migration.source import LoadError, invalid

# Commands and the length of their payload (None: it varies)
COMMANDS: dict[int, tuple[str, int | None]] = {
    stream.OPEN_RETURN_PATH: ("OPEN_RETURN_PATH", 0),
    stream.PING: ("PING", 4),
    stream.POSTCOPY_ADVISE: ("POSTCOPY_ADVISE", None),
    stream.POSTCOPY_LISTEN: ("POSTCOPY_LISTEN", 0),
    stream.POSTCOPY_RUN: ("POSTCOPY_RUN", 0),
    stream.POSTCOPY_RAM_DISCARD: ("POSTCOPY_RAM_DISCARD", None),
    stream.PACKAGED: ("PACKAGED", 4),
    stream.ENABLE_COLO: ("(null)", 0),  # QEMU has no name for it
    stream.POSTCOPY_RESUME: ("POSTCOPY_RESUME", 0),
    stream.RECV_BITMAP: ("RECV_BITMAP", None),
    stream.SWITCHOVER_START: ("SWITCHOVER_START", 0),
}
_POSTCOPY_ONLY = (stream.POSTCOPY_LISTEN, stream.POSTCOPY_RUN, stream.POSTCOPY_RAM_DISCARD)


def check_length(number: int, length: int) -> None:
    """LoadError if there is no such command, or if it never has so long a payload."""
    if number not in COMMANDS:
        raise invalid(f"MIG_CMD 0x{number:x} unknown (len 0x{length:x})")
    name, expected = COMMANDS[number]
    if expected is not None and length != expected:
        raise LoadError(
            errno.ERANGE,
            f"{name} received with bad length - expecting {expected}, got {length}",
        )


def check_command(
    number: int,
    payload: bytes,
    return_path: bool,
    x_colo: bool = False,
    advised: bool = False,
) -> str | None:
    """LoadError if the command must not come; a line for stderr if it is only odd.

    `return_path`: the source has opened one before; `x_colo`: the capability is on; `advised`: the
    source has said before that it might go on behind the switch-over. That is never entered here,
    so its other commands always come at the wrong time.
    """
    if number == stream.OPEN_RETURN_PATH and return_path:
        return "CMD_OPEN_RETURN_PATH called when RP already open"
    if number == stream.PING and not return_path:
        value = int.from_bytes(payload, "big")
        raise LoadError(errno.EPERM, f"CMD_PING (0x{value:x}) received with no return path")
    if number in _POSTCOPY_ONLY or (number == stream.POSTCOPY_ADVISE and advised):
        name = COMMANDS[number][0]
        raise LoadError(errno.EPERM, f"CMD_{name} in wrong postcopy state ({int(advised)})")
    if number == stream.POSTCOPY_ADVISE and len(payload) == 16:
        raise invalid("RAM postcopy is disabled but have 16 byte advise")
    if number == stream.POSTCOPY_ADVISE and payload:
        raise invalid(f"CMD_POSTCOPY_ADVISE invalid length ({len(payload)})")
    if number == stream.ENABLE_COLO and not x_colo:
        raise invalid(
            "ENABLE_COLO command come in migration stream, but x-colo capability is not set"
        )
    if number == stream.POSTCOPY_RESUME:
        return "loadvm_postcopy_handle_resume: illegal resume received"
    if number == stream.RECV_BITMAP:
        if len(payload) < 1 or len(payload) != payload[0] + 1:
            raise invalid(f"loadvm_handle_recv_bitmap: invalid payload length ({len(payload)})")
        return "migrate_send_rp_recv_bitmap: MSG_RP_RECV_BITMAP only used for recovery"
    return None
