"""Where a question is played: a directory, a program with QEMU's command line, a transcript."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import resource
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.differential import normal
from tests.differential.bootsector import ab_sector
from tests.differential.wires import GUARD, Human, Qmp, Stuck, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


DEVICE = "/dev/kvm"


class Program(NamedTuple):
    """A program with QEMU's command line, and how each kind of guest is put into it."""

    name: str
    argv: tuple[str, ...]
    guests: dict[str, tuple[str, ...]]


_FACES = {
    "qmp": ("-mon", "chardev=qmp,mode=control"),
    "hmp": ("-mon", "chardev=hmp,mode=readline"),
    "ser": ("-serial", "chardev:ser"),
}
DISK = ("-drive", "if=none,id=d0,file=bootsect,format=raw")
DISK += ("-device", "ide-hd,drive=d0,secs=1,cyls=1,heads=1")


def find_qemu() -> Program | None:
    """Real QEMU, if it is installed."""
    path = shutil.which("qemu-system-x86_64")
    guests: dict[str, tuple[str, ...]] = {"none": (), "idle": (), "ab": DISK, "ab-suspend": DISK}
    return Program("qemu", (path,), guests) if path else None


def find_vmd() -> Program:
    """vmd as it is installed beside the running Python."""
    script = Path(sys.executable).with_name("vmd")
    guests = {
        "none": (),
        "idle": ("-vmd", "guest=idle"),
        "ab": ("-vmd", "guest=ab"),
        "ab-suspend": ("-vmd", "guest=ab,suspend=on"),
    }
    return Program("vmd", (str(script),), guests)


class Unavailable(Exception):
    """The host cannot offer what a question needs; the text says what."""


class Machine:
    """One running program. Which of `qmp`, `human`, `serial` is there depends on how it started."""

    qmp: Qmp
    human: Human
    serial: Wire

    def __init__(
        self, stage: Stage, process: subprocess.Popen[bytes], stdout: Path, stderr: Path
    ) -> None:
        self._stage = stage
        self.process = process
        self._outputs = {"stdout": stdout, "stderr": stderr}

    def signal(self, number: signal.Signals) -> None:
        self._stage.note(f"# {number.name}")
        self.process.send_signal(number)

    def exited(self) -> int:
        """Wait for the end; note stdout (where no monitor is on it), stderr and how it ended."""
        try:
            code = self.process.wait(GUARD)
        except subprocess.TimeoutExpired:
            raise Stuck("the program does not end") from None
        for name, path in self._outputs.items():
            for text in self._stage.normal(path.read_text(errors="backslashreplace")).splitlines():
                self._stage.note(f"{name}: {text}")
        ending = signal.Signals(-code).name if code < 0 else str(code)
        self._stage.note(f"# exit {ending}")
        return code


class Listener:
    """A peer that a migration goes to: it does what no program does."""

    def __init__(self, server: socket.socket, open_things: contextlib.ExitStack) -> None:
        server.settimeout(GUARD)
        self._server = server
        self._open = open_things

    def accept(self) -> socket.socket:
        """Wait for the subject to connect."""
        peer, _ = self._server.accept()
        peer.settimeout(GUARD)
        return self._open.enter_context(peer)


def _threads(pid: int) -> str:
    """What each thread of a silent program waits for in the kernel."""
    tasks = sorted(Path(f"/proc/{pid}/task").glob("*/wchan"))
    return ", ".join(f"{task.parent.name} in {task.read_text()}" for task in tasks)


def drained(peer: socket.socket, end: bytes) -> None:
    """Read up to the first chunk that ends so."""
    last = b""
    while not last.endswith(end):
        data = peer.recv(1 << 20)
        if not data:
            raise Stuck(f"the stream ends before {end!r}")
        last = last[-len(end) :] + data


class Stage:
    """Plays one question; `transcript` is what comes of it."""

    def __init__(self, program: Program, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.transcript: list[str] = []
        self.exact = False
        self._firmware = False
        self._count = 0
        self._names = {str(directory): "<dir>"}
        self._slaves: list[int] = []
        self._open = contextlib.ExitStack()

    # What a question does.

    def start(
        self,
        arguments: str,
        *,
        qmp: bool = True,
        negotiate: bool = True,
        human: str | None = None,
        first_keys: bytes = b"",
        serial: bool = False,
        guest: str = "idle",
        file_limit: int | None = None,
        disk: str | None = None,
        kvm: bool = False,
    ) -> Machine:
        """Start the program in the stage's directory.

        `qmp`: with a QMP monitor (already negotiated, unless `negotiate` is False).
        `human`: a human monitor on a "pipe", a "pty" or a "socket"; `first_keys` bring its prompt.
        `serial`: with the first serial line connected.
        `guest`: who lives in it; `file_limit`: once it runs, no file may grow beyond so many bytes.
        `kvm`: on a host with KVM; vmd may be told that this is one.
        `disk`: mounted as the directory `disk`, a file system of its own of this size.
        """
        self.note(self.normal(f"$ program {arguments}"))
        self._firmware = "none" not in arguments.partition("-machine ")[2].split(",")[0].split()
        argv = [*self._on_disk(disk), *self.program.argv, *shlex.split(arguments)]
        argv += ["-display", "none", *self._inhabited(guest), *self._on_kvm(kvm)]
        if human in ("pipe", "pty") and "mon:stdio" not in arguments:
            argv += ["-monitor", "stdio"]
        faces = [*["qmp"] * qmp, *["hmp"] * (human == "socket"), *["ser"] * serial]
        launch = partial(
            self._launch, argv, faces, human, negotiate, limited=file_limit is not None
        )
        try:
            machine = launch()
        except Stuck:
            # Seen once in thousands of starts. Only the judge is forgiven for it, and once.
            if self.program.name != "qemu":
                raise
            machine = launch()
        if human:
            machine.human.press(first_keys)
            machine.human.banner()
        if human == "pty":
            # Only now: a terminal that nobody has opened says end of file at once.
            os.close(self._slaves.pop())
        if file_limit is not None:
            limits = (file_limit, file_limit)
            resource.prlimit(machine.process.pid, resource.RLIMIT_FSIZE, limits)
        return machine

    def refused(self, arguments: str, *, kvm: bool = False) -> None:
        """Start the program with a command line that it must refuse."""
        machine = self.start(arguments, qmp=False, guest="none", kvm=kvm)
        machine.exited()

    def connect(self, path: str) -> Wire:
        """Connect to a unix socket that the subject listens on."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(os.path.relpath(self.directory / path))
        wire = Wire(sock.fileno(), sock.detach())
        self._open.callback(wire.close)
        return wire

    def listener(self, path: str) -> Listener:
        """A peer that listens on a unix socket in the stage's directory."""
        server = self._open.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(os.path.relpath(self.directory / path))
        server.listen(1)
        return Listener(server, self._open)

    def human(self, wire: Wire) -> Human:
        """Someone at a human monitor that `connect` has reached."""
        return Human(wire, self._note_screen)

    def qmp(self, wire: Wire, label: str) -> Qmp:
        """A client of a QMP monitor that `connect` has reached; `label` goes before its lines."""
        return Qmp(wire, self.note_value, label)

    def busy_tcp_port(self) -> int:
        """A port of 127.0.0.1 that somebody else listens on."""
        listener = self._open.enter_context(socket.create_server(("127.0.0.1", 0)))
        port: int = listener.getsockname()[1]
        self._names[str(port)] = "<port>"
        return port

    def file(self, name: str) -> Path:
        """A file in the stage's directory."""
        return self.directory / name

    # What the machinery needs.

    def note(self, text: str) -> None:
        self.transcript.append(text)

    def note_value(self, label: str, thing: Any) -> None:
        thing = normal.value(thing, exact=self.exact, firmware=self._firmware)
        self.note(self.normal(normal.line(label, thing)))

    def normal(self, text: str) -> str:
        for secret, name in self._names.items():
            text = text.replace(secret, name)
        return normal.text(text, exact=self.exact)

    def close(self) -> None:
        for slave in self._slaves:
            os.close(slave)
        self._open.close()
        self._end_daemon()

    def _end_daemon(self) -> None:
        """A daemon is nobody's child; if one is left, its pid file says which it is."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.file("vm.pid").read_text())
            if b"vm.pid" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    def _note_screen(self, row: str) -> None:
        self.note(self.normal(row))

    def _on_disk(self, size: str | None) -> list[str]:
        """A command that runs another with a small disk mounted, which only that one sees."""
        if size is None:
            return []
        self.file("disk").mkdir(exist_ok=True)
        mount = f"mount -t tmpfs -o size={size} none disk"
        isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
        if subprocess.run([*isolated, mount], cwd=self.directory, capture_output=True).returncode:
            raise Unavailable("this host lets nobody mount a tmpfs")
        return [*isolated, f'{mount} && exec "$0" "$@"']

    def _inhabited(self, guest: str) -> tuple[str, ...]:
        """What puts a guest into the program."""
        if guest.startswith("ab"):
            sector = ab_sector(suspend=guest.endswith("suspend"))
            (self.directory / "bootsect").write_bytes(sector)
        return self.program.guests[guest]

    def _on_kvm(self, wanted: bool) -> tuple[str, ...]:
        if wanted and self.program.name == "vmd":
            return ("-vmd", "kvm=on")
        if wanted and not os.access(DEVICE, os.R_OK | os.W_OK):
            raise Unavailable("this host has no KVM")
        return ()

    def _launch(
        self,
        argv: Sequence[str],
        faces: Sequence[str],
        human: str | None,
        negotiate: bool,
        *,
        limited: bool,
    ) -> Machine:
        """Run the program with a connection for each face; Stuck if its QMP stays silent."""
        wires = {}
        with contextlib.ExitStack() as handed:
            handed_fds = []
            for name in faces:
                wires[name], fd = self._connection(handed)
                handed_fds.append(fd)
                argv = [*argv, "-chardev", f"socket,id={name},fd={fd},server=on,wait=off"]
                argv += _FACES[name]
            machine = self._run(argv, handed_fds, human, limited=limited)
        for name, connection in wires.items():
            wire = Wire(connection.fileno(), connection.fileno())
            if name == "qmp":
                machine.qmp = Qmp(wire, self.note_value)
            elif name == "hmp":
                machine.human = Human(wire, self._note_screen)
            else:
                machine.serial = wire
        if "qmp" in faces and negotiate:
            try:
                machine.qmp.negotiate(quietly=True)
            except Stuck as stuck:
                stuck.add_note(f"{self.program.name}: {_threads(machine.process.pid)}")
                machine.process.kill()
                raise
        return machine

    def _connection(self, handed: contextlib.ExitStack) -> tuple[socket.socket, int]:
        """A connection that is made before the program starts: (our end, the listener's fd)."""
        self._count += 1
        listener = handed.enter_context(socket.socket(socket.AF_UNIX))
        path = os.path.relpath(self.directory / f"{self.program.name}-socket{self._count}")
        listener.bind(path)
        listener.listen(1)
        client = socket.socket(socket.AF_UNIX)
        self._open.callback(client.close)
        client.connect(path)
        return client, listener.fileno()

    def _run(
        self, argv: Sequence[str], fds: list[int], human: str | None, limited: bool = False
    ) -> Machine:
        """`limited`: files will be cut short; none may be those that Python keeps for others."""
        self._count += 1
        name = f"{self.program.name}{self._count}"
        stderr = self.directory / f"{name}-stderr"
        # A write beyond a limit of file size must fail, as on a full disk, not kill.
        script = 'trap "" XFSZ; exec "$@"'
        stdout = self._open.enter_context((self.directory / f"{name}-stdout").open("wb"))
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stdout}
        terminal = -1
        if human == "pipe":
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        if human == "pty":
            terminal, path = self._terminal()
            script += f" <{path} >{path}"  # the session's first terminal becomes its own
        with stderr.open("wb") as errors:
            process = subprocess.Popen(
                ["sh", "-c", script, "sh", *argv],
                cwd=self.directory,
                env={
                    **os.environ,
                    **({"PYTHONDONTWRITEBYTECODE": "1"} if limited else {}),
                    "TERM": "xterm",
                    "LC_ALL": "C.UTF-8",
                    "TZ": "UTC",
                },
                pass_fds=fds,
                start_new_session=True,
                stderr=errors,
                restore_signals=False,
                **streams,
            )
        self._open.callback(_end, process)
        machine = Machine(self, process, Path(stdout.name), stderr)
        if human == "pipe":
            assert process.stdin and process.stdout
            wire = Wire(process.stdout.fileno(), process.stdin.fileno())
            machine.human = Human(wire, self._note_screen)
        elif human == "pty":
            wire = Wire(terminal, terminal)
            machine.human = Human(wire, self._note_screen, enter=b"\r", lines=Human.LINES)
        return machine

    def _terminal(self) -> tuple[int, str]:
        master, slave = pty.openpty()
        self._open.callback(os.close, master)
        self._slaves.append(slave)
        size = struct.pack("HHHH", Human.LINES, Human.COLUMNS, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        return master, os.ttyname(slave)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever a question left running ends with it."""
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
    process.kill()
    process.wait()


@contextlib.contextmanager
def stage(program: Program, directory: Path) -> Iterator[Stage]:
    """A stage that leaves nothing running behind."""
    scene = Stage(program, directory)
    try:
        yield scene
    finally:
        scene.close()
