"""Ask real QEMU for state files, and what it makes of damaged and of made ones; keep the answers.

Run by hand (`python -m tests.vmd.record_streams [qemu-system-x86_64]`, some minutes) when there are
new cases or a new QEMU to follow; the tests only read what is kept in `data/streams`:

- `<name>.xz`: state files as QEMU wrote them (see `SOURCES`),
- `judged.jsonl.xz`: one line a stream that was sent to QEMU. `stream` is its hex, or `base` with
  `cut` (only so many bytes of it) or `xor` ([offset, mask] of one byte). `args` and `caps` belong
  to the receiver; `status`, `error`, `lines` (stderr) and `ram` (a digest) are the answer. Status
  "crash": QEMU did not survive it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.vmd.stream_cases import PAGE, RAM_SIZE, made_cases

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

QEMU = sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64"
KEPT = Path(__file__).with_name("data") / "streams"
UUID = "00112233-4455-6677-8899-aabbccddeeff"


class Source(NamedTuple):
    """A machine whose state is kept. In its arguments {dir} is where `ram` and `bios` are."""

    args: str
    caps: tuple[str, ...] = ()


BACKEND = "memory-backend-file,id=ram,size=16k,mem-path={dir}/ram"
SOURCES = {
    # Two pages of data among four; what the damaged streams are made from.
    "base": Source(f"-machine none,memory-backend=ram -nodefaults -object {BACKEND},share=off"),
    "plain": Source("-machine none -m 1"),
    "empty": Source("-machine none -nodefaults"),
    "ignore-shared": Source(
        f"-machine none,memory-backend=ram -nodefaults -object {BACKEND},share=on -uuid {UUID}",
        ("x-ignore-shared", "validate-uuid"),
    ),
    "q35": Source("-machine q35 -accel tcg -nodefaults -m 8 -S -bios {dir}/bios"),
    # Has a section in front of RAM.
    "virtio-mem": Source(
        "-machine q35 -accel tcg -nodefaults -m 8M,maxmem=1G,slots=1 -S -bios {dir}/bios"
        " -object memory-backend-ram,id=hot,size=128M -device virtio-mem-pci,memdev=hot"
    ),
    "devices": Source(
        "-machine q35 -accel tcg -nodefaults -m 8 -S -bios {dir}/bios -smp 2"
        " -device virtio-rng-pci -device virtio-balloon-pci,id=b -device virtio-serial-pci"
        " -device qemu-xhci -device usb-kbd -device pcie-root-port,id=p"
        " -device e1000e,bus=p,romfile= -chardev null,id=n -device isa-serial,chardev=n"
        " -device intel-hda -device virtio-gpu-pci"
    ),
}


class Qemu:
    """A running QEMU with QMP on stdio, in the middle of which one may be gone."""

    def __init__(self, args: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [QEMU, "-display", "none", "-vga", "none", "-qmp", "stdio", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._read()
        self.execute("qmp_capabilities")

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            message: dict[str, Any] = json.loads(line)
            if "event" not in message:
                return message
        raise EOFError

    def execute(self, command: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        message = {"execute": command, "arguments": arguments}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        reply = self._read()
        if "error" in reply:
            raise RuntimeError(reply["error"]["desc"])
        return reply["return"]

    def turn_on(self, caps: Sequence[str]) -> None:
        states = [{"capability": name, "state": True} for name in caps]
        self.execute("migrate-set-capabilities", capabilities=states)

    def outcome(self) -> dict[str, Any]:
        """Wait for the end of the migration."""
        while True:
            info: dict[str, Any] = self.execute("query-migrate")
            if info.get("status") in ("completed", "failed", "colo"):
                return info

    def end(self) -> list[str]:
        """Quit if it still lives; what it said on stderr."""
        with contextlib.suppress(EOFError, BrokenPipeError):
            self.execute("quit")
        _, errors = self.process.communicate()
        # Names in damaged streams are any bytes, and may contain other ends of lines.
        lines = errors.decode("utf-8", "surrogateescape").split("\n")[:-1]
        return [line.removeprefix("qemu-system-x86_64: ") for line in lines]


def save(source: Source, directory: str) -> bytes:
    """The state file of a machine of this kind."""
    rng = random.Random(5)
    Path(directory, "ram").write_bytes(bytes(PAGE) + rng.randbytes(PAGE) + bytes(2 * PAGE))
    Path(directory, "bios").write_bytes(bytes(65536))
    path = Path(directory, "state")
    qemu = Qemu(source.args.format(dir=directory).split())
    qemu.turn_on(source.caps)
    qemu.execute("migrate", uri=f"file:{path}")
    assert qemu.outcome()["status"] == "completed"
    print("".join(qemu.end()), end="", file=sys.stderr)
    return path.read_bytes()


def judge(
    stream: bytes, directory: str, args: Sequence[str] = (), caps: Sequence[str] = ()
) -> dict[str, Any]:
    """What a QEMU with four pages of RAM, a block named `ram`, makes of a stream."""
    state, ram = Path(directory, "state"), Path(directory, "ram")
    state.write_bytes(stream)
    ram.unlink(missing_ok=True)
    machine = "-machine none,memory-backend=ram -nodefaults -S -incoming defer"
    backend = f"-object memory-backend-file,id=ram,size={RAM_SIZE},mem-path={ram},share=on"
    qemu = Qemu([*machine.split(), *backend.split(), *args])
    try:
        qemu.turn_on(caps)
        qemu.execute("migrate-incoming", uri=f"file:{state}", **{"exit-on-error": False})
        info = qemu.outcome()
    except (EOFError, BrokenPipeError):
        info = {"status": "crash"}
    lines = qemu.end()
    answer = {"status": info["status"], "error": info.get("error-desc"), "lines": lines}
    if info["status"] in ("completed", "colo"):
        answer["ram"] = hashlib.sha256(ram.read_bytes()).hexdigest()[:16]
    return answer


def damaged(base: bytes) -> Iterator[dict[str, Any]]:
    """Ways to cut the stream and to change a byte of it; the inside of its page is dull."""
    page = base.index(random.Random(5).randbytes(PAGE))
    end = base.index(b"\0\6\0\0") + 8
    offsets = [i for i in range(end) if not page + 2 <= i < page + PAGE - 2]
    rng = random.Random(7)
    for at in [*offsets, len(base) - 100, len(base) - 1]:
        yield {"base": "base", "cut": at}
    for at in offsets:
        for mask in sorted({1, 0x80, 0xFF, 1 << rng.randrange(8), rng.randrange(1, 256)}):
            yield {"base": "base", "xor": [at, mask]}


def apply(change: dict[str, Any], base: bytes) -> bytes:
    """The damaged stream that a line of `judged.jsonl` describes."""
    if "cut" in change:
        return base[: change["cut"]]
    at, mask = change["xor"]
    return base[:at] + bytes((base[at] ^ mask,)) + base[at + 1 :]


def keep(name: str, data: bytes) -> None:
    (KEPT / f"{name}.xz").write_bytes(lzma.compress(data, preset=9))


def main() -> None:
    os.makedirs(KEPT, exist_ok=True)
    judged = []
    with tempfile.TemporaryDirectory() as directory:
        for name, source in SOURCES.items():
            keep(name, save(source, directory))
        base = lzma.decompress((KEPT / "base.xz").read_bytes())
        for change in damaged(base):
            judged.append({**change, **judge(apply(change, base), directory)})
        for name, case in made_cases().items():
            receiver = {"args": list(case.args), "caps": list(case.caps)}
            answer = judge(case.stream, directory, case.args, case.caps)
            judged.append({"name": name, "stream": case.stream.hex(), **receiver, **answer})
    lines = "".join(json.dumps(line) + "\n" for line in judged)
    keep("judged.jsonl", lines.encode())


if __name__ == "__main__":
    main()
