"""What options ask of the process itself: its log, its name, its memory."""

from __future__ import annotations

import os

from qapi.error import QmpError

PR_SET_NAME = 15
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


def open_logfile(path: str) -> int:
    """A descriptor for `-D FILE`, emptied; QmpError with QEMU's text."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        text = os.strerror(error.errno or 0)
        raise QmpError(f"Error opening logfile {path}: {text}") from None


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
