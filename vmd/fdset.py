"""Sets of file descriptors that clients handed over (add-fd), opened as /dev/fdset/N.

Observed from monitor/fds.c.
"""

from __future__ import annotations

import fcntl
import os
import re

from qapi.error import QmpError

_PATH = r"/dev/fdset/[ \t]*\+?(\d+)\Z"
_LAST = (1 << 31) - 1


class FdSets:
    """All sets of a process, by number. Closing what is taken out is the taker's duty."""

    def __init__(self) -> None:
        self._sets: dict[int, list[tuple[int, str | None]]] = {}

    def add(self, fd: int, fdset_id: int | None, opaque: str | None) -> dict[str, object]:
        """Put `fd` into a set, the lowest free one unless told; the schema's AddfdInfo."""
        if fdset_id is None:
            fdset_id = next(n for n in range(len(self._sets) + 1) if n not in self._sets)
        self._sets.setdefault(fdset_id, []).append((fd, opaque))
        return {"fdset-id": fdset_id, "fd": fd}

    def remove(self, fdset_id: int, fd: int | None) -> None:
        """Close one descriptor of a set, or all of them."""
        held = self._sets.get(fdset_id, [])
        gone = [entry for entry in held if fd is None or entry[0] == fd]
        if not gone:
            which = f"fdset-id:{fdset_id}" + ("" if fd is None else f", fd:{fd}")
            raise QmpError(f"File descriptor named '{which}' not found")
        for number, _ in gone:
            os.close(number)
        left = [entry for entry in held if entry not in gone]
        if left:
            self._sets[fdset_id] = left
        else:
            del self._sets[fdset_id]

    def describe(self) -> list[dict[str, object]]:
        """The schema's list of FdsetInfo: sets in descending, descriptors in added order."""
        return [
            {
                "fdset-id": number,
                "fds": [
                    {"fd": fd} if opaque is None else {"fd": fd, "opaque": opaque}
                    for fd, opaque in self._sets[number]
                ],
            }
            for number in sorted(self._sets, reverse=True)
        ]

    def open(self, path: str, flags: int) -> int | None:
        """A duplicate of the descriptor that `path` and the access mode in `flags` ask for.

        None if the path is not one of /dev/fdset's; OSError (EACCES) if no descriptor fits.
        """
        match = re.match(_PATH, path)
        if match is None or int(match[1]) > _LAST:
            if path.startswith("/dev/fdset/"):
                raise QmpError(f"Could not parse fdset {path}")
            return None
        if int(match[1]) not in self._sets:
            raise QmpError(f"Failed to find fdset /dev/fdset/{match[1]}")
        mode = flags & os.O_ACCMODE
        for fd, _ in self._sets[int(match[1])]:
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == mode:
                return os.dup(fd)
        raise QmpError(f"Failed to find file descriptor with matching flags=0x{flags:x}")

    def open_file(self, path: str, flags: int, mode: int) -> int:
        """A file of the host, or a duplicate of a descriptor in a set; OSError or QmpError."""
        fd = self.open(path, flags)
        return open_at_once(path, flags, mode) if fd is None else fd


def open_at_once(path: str, flags: int, mode: int) -> int:
    """os.open, but without waiting for the other end of a FIFO, as QEMU does for ever.

    One that nobody reads cannot be opened to be written (ENXIO).
    """
    fd = os.open(path, flags | os.O_NONBLOCK, mode)
    os.set_blocking(fd, True)
    return fd
