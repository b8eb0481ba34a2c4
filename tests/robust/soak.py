"""Very many commands, pipelined, and whether memory stays flat: `python -m tests.robust.soak`."""

from __future__ import annotations

import sys

from tests.bench.subject import Session
from tests.differential.stage import find_vmd

WINDOW = 500
WARM_UP = 10_000
ALLOWED = 2 << 20  # bytes: what an allocator may keep for itself

_MIX = (
    '{"execute": "query-status"}',
    '{"execute": "query-name", "id": {"n": [%d, "x"]}}',
    '{"execute": "stop", "id": "s%d"}',
    '{"execute": "no-such-%d"}',
    '{"execute": "cont"}',
    '{"execute": "query-version", "arguments": {"a%d": 1}}',
    '{"execute": "human-monitor-command", "arguments": {"command-line": "info status"}}',
    "{'execute': 'query-uuid', %d",
)


class Soak:
    """A running vmd and a client that asks `count` things and reads all that comes."""

    def __init__(self) -> None:
        self.session = Session(find_vmd().argv, "-machine none -nodefaults")

    def run(self, count: int) -> int:
        """Ask so many things; resident bytes afterwards."""
        for first in range(0, count, WINDOW):
            numbers = range(first, min(first + WINDOW, count))
            text = "\n".join(
                line.replace("%d", str(number))
                for number in numbers
                for line in (_MIX[number % len(_MIX)],)
            )
            # No token may hold this byte: what the last line has begun is thrown away.
            self.session.send(text.encode() + b"\xff\n" + b'{"execute": "query-kvm", "id": "end"}')
            self._read_to_the_end()
        return self.session.resident()

    def _read_to_the_end(self) -> None:
        while self.session.message().get("id") != "end":
            pass


def main(words: list[str]) -> int:
    count = int(words[0]) if words else 1_000_000
    soak = Soak()
    warm = soak.run(WARM_UP)
    after = soak.run(count)
    soak.session.end()
    print(f"{count:,} commands: {warm / 1024:,.0f} KiB before, {after / 1024:,.0f} KiB after")
    return int(after - warm > ALLOWED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
