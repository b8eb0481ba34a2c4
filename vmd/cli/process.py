"""What options ask of the process itself: its name, its memory."""

from __future__ import annotations

import os

from qapi.error import QmpError

PR_SET_NAME = 15
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


def set_process_name(name: str) -> None:
    """`-name process=NAME`: what ps and /proc/PID/comm show (15 bytes of it)."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(errors="surrogateescape"), 0, 0, 0)


def lock_memory(how: str) -> None:
    """`-overcommit mem-lock=on|on-fault`: keep all memory in RAM; QmpError if that is refused."""
    import ctypes

    flags = MCL_CURRENT | MCL_FUTURE | (MCL_ONFAULT if how == "on-fault" else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(flags) != 0:
        text = os.strerror(ctypes.get_errno())
        raise QmpError(f"mlockall: {text}")
