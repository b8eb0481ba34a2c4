"""Generated scripts and generated garbage, put to vmd and to real QEMU at the same moment."""

from __future__ import annotations

import itertools
import json
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import qapi
from tests.differential import normal
from tests.differential.scenes import capabilities, save
from tests.differential.stage import find_qemu, find_vmd, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.differential.stage import Machine, Program, Stage
    from tests.differential.wires import Wire

VM = "-machine none -m 16"
SCRIPTS = max(6, settings().max_examples // 16)
PACKETS = max(60, settings().max_examples)

QUERIES = (
    "query-status",
    "query-migrate",
    "query-name",
    "query-uuid",
    "query-memory-size-summary",
    "query-cpus-fast",
    "query-fdsets",
    "query-memdev",
    "query-jobs",
    "query-yank",
    "query-dump",
    "query-iothreads",
    "query-memory-devices",
    "query-display-options",
    "query-vnc-servers",
    "query-acpi-ospm-status",
    "x-query-numa",
    "x-exit-preconfig",
)
BLUNT = ("stop", "cont", "system_reset", "system_powerdown", "system_wakeup", "migrate_cancel")
LINES = ("info status", "info migrate", "info name", "stop", "cont", "info nonsense", "nonsense")
EVENTS = ("runstate_set", "vm_state_*", "qmp_*_query_name", "*_nonsense*", "nonsense", "r?n*_set")
KEYS = st.one_of(
    st.sampled_from(["a", "ctrl", "ret", "nonsense"]).map(lambda k: {"type": "qcode", "data": k}),
    st.integers(-1, 300).map(lambda number: {"type": "number", "data": number}),
)
INPUTS = st.one_of(
    st.builds(lambda key: {"type": "key", "data": {"key": key, "down": True}}, KEYS),
    st.sampled_from(["rel", "abs", "mtt"]).map(
        lambda kind: {"type": kind, "data": {"axis": "x", "value": 1}}
    ),
)
ACTIONS = {
    "reboot": st.sampled_from(["reset", "shutdown"]),
    "shutdown": st.sampled_from(["pause", "poweroff"]),
    "panic": st.sampled_from(["pause", "none", "poweroff"]),
    "watchdog": st.sampled_from(["none", "inject-nmi", "reset"]),
}
ARRIVALS = ("file:running", "file:paused", "file:half", "file:garbage", "file:empty")
ARRIVALS += ("file:nowhere/x", "file:running,offset=0x1", "nothing:x", "")
SWITCHES = ("validate-uuid", "x-ignore-shared", "pause-before-switchover", "no-such-capability")
PARAMETERS: dict[str, Any] = {
    "max-bandwidth": st.integers(-1, 1 << 65),
    "downtime-limit": st.sampled_from([0, 300, 2_000_000, 2_000_001]),
    "mode": st.sampled_from(["normal", "cpr-reboot", "other", 7]),
    "avail-switchover-bandwidth": st.sampled_from([0, 1 << 20, -5, "fast"]),
    "nonsense": st.none(),
}


class Pair(RuleBasedStateMachine):
    """vmd and QEMU in one life. After every step their answers and their events are the same.

    Each is compared as a sequence of its own: QEMU's threads let an event overtake an answer.
    """

    arguments = VM
    files: Callable[[], dict[str, bytes]] = staticmethod(dict)

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        self.machines: list[tuple[Stage, Machine]] = []
        for program in (find_vmd(), find_qemu()):
            assert program is not None
            place = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
            scene = self._open.enter_context(stage(program, place))
            for name, data in self.files().items():
                scene.file(name).write_bytes(data)
            self.machines.append((scene, scene.start(self.arguments)))
        self.saved = False
        self.actions = {"reboot": "reset", "shutdown": "poweroff"}
        self._each(lambda machine: capabilities(machine, "events"))

    def teardown(self) -> None:
        try:
            self._each(lambda machine: machine.qmp.execute("quit"))
            self._each(lambda machine: machine.qmp.end())
        finally:
            self._open.close()

    def _each(self, play: Callable[[Machine], object]) -> None:
        for _, machine in self.machines:
            play(machine)
        ours, theirs = (self._told(scene) for scene, _ in self.machines)
        assert ours == theirs

    def _told(self, scene: Stage) -> tuple[list[str], list[str]]:
        """What the last step brought: answers, events."""
        lines = list(scene.transcript)
        scene.transcript.clear()
        events = [line for line in lines if line.startswith("<- event")]
        return [line for line in lines if line not in events], events

    @rule(command=st.sampled_from([*QUERIES, *BLUNT]).filter(qapi.load().commands.__contains__))
    def runs(self, command: str) -> None:
        self._each(lambda machine: machine.qmp.execute(command))

    @rule(line=st.sampled_from(LINES))
    def types(self, line: str) -> None:
        arguments = {"command-line": line}
        self._each(lambda machine: machine.qmp.execute("human-monitor-command", arguments))

    @rule(actions=st.fixed_dictionaries({}, optional=ACTIONS))
    def chooses_actions(self, actions: dict[str, str]) -> None:
        """Any but those with which a reset would end the programs."""
        chosen = self.actions | actions
        if chosen["reboot"] == "shutdown" and chosen["shutdown"] == "poweroff":
            return
        if chosen.get("panic") != "poweroff":  # else all of it is refused
            self.actions = chosen
        self._each(lambda machine: machine.qmp.execute("set-action", actions))

    @rule(name=st.sampled_from(EVENTS), enable=st.booleans())
    def traces(self, name: str, enable: bool) -> None:
        arguments = {"name": name, "enable": enable}
        self._each(lambda machine: machine.qmp.execute("trace-event-set-state", arguments))
        self._each(lambda machine: machine.qmp.execute("trace-event-get-state", {"name": name}))

    @rule(events=st.lists(INPUTS, max_size=3))
    def does(self, events: list[dict[str, Any]]) -> None:
        arguments = {"events": events}
        self._each(lambda machine: machine.qmp.execute("input-send-event", arguments))

    @rule(keys=st.lists(KEYS, max_size=3))
    def presses(self, keys: list[dict[str, Any]]) -> None:
        self._each(lambda machine: machine.qmp.execute("send-key", {"keys": keys}))

    @rule()
    def asks_what_is_set(self) -> None:
        """vmd may know fewer capabilities and parameters: only those used here are compared."""

        def play(machine: Machine) -> None:
            machine.qmp.execute(
                "query-migrate-capabilities",
                view=lambda found: [one for one in found if one["capability"] in SWITCHES],
            )
            machine.qmp.execute(
                "query-migrate-parameters",
                view=lambda found: {name: found[name] for name in PARAMETERS if name in found},
            )

        self._each(play)

    @rule(switches=st.dictionaries(st.sampled_from(SWITCHES), st.booleans(), max_size=2))
    def switches(self, switches: dict[str, bool]) -> None:
        states = [{"capability": name, "state": on} for name, on in switches.items()]
        arguments = {"capabilities": states}
        self._each(lambda machine: machine.qmp.execute("migrate-set-capabilities", arguments))

    @rule(parameters=st.fixed_dictionaries({}, optional=PARAMETERS))
    def sets(self, parameters: dict[str, Any]) -> None:
        self._each(lambda machine: machine.qmp.execute("migrate-set-parameters", parameters))

    @precondition(lambda self: not self.saved)
    @rule(uri=st.sampled_from(["file:vm.state", "file:nowhere/x", "nothing:x", ""]))
    def migrates(self, uri: str) -> None:
        def play(machine: Machine) -> None:
            answer = machine.qmp.execute("migrate", {"uri": uri})
            if "class" in answer:
                return
            while True:
                status = machine.qmp.execute("query-migrate", quietly=True).get("status")
                if status == "pre-switchover":
                    machine.qmp.execute("migrate-continue", {"state": status}, quietly=True)
                if status in ("completed", "failed"):
                    break
            while machine.qmp.execute("query-status", quietly=True)["status"] == "finish-migrate":
                pass
            machine.qmp.execute("query-status")

        self._each(play)

    @rule(arguments=st.dictionaries(st.sampled_from(["uri", "id", "x"]), st.none(), max_size=2))
    def gets_arguments_wrong(self, arguments: dict[str, Any]) -> None:
        self._each(lambda machine: machine.qmp.execute("stop", arguments))
        self._each(lambda machine: machine.qmp.execute("migrate", arguments))


@cache
def state_files() -> dict[str, bytes]:
    """What real QEMU writes when it is running, and when it is paused; and what is none of both."""
    qemu = find_qemu()
    assert qemu is not None
    found = {"garbage": b"garbage" * 1000, "empty": b""}
    with tempfile.TemporaryDirectory() as place, stage(qemu, Path(place)) as scene:
        for name in ("running", "paused"):
            machine = scene.start(VM)
            capabilities(machine, "events")
            if name == "paused":
                machine.qmp.execute("stop")
            save(machine, f"file:{name}")
            found[name] = scene.file(name).read_bytes()
    return {**found, "half": found["running"][: len(found["running"]) // 2]}


class Arrivals(Pair):
    """Both wait for somebody who may never come, or come to nothing."""

    arguments = f"{VM} -incoming defer"
    files = staticmethod(state_files)

    @rule(uri=st.sampled_from(ARRIVALS))
    def arrives(self, uri: str) -> None:
        arguments = {"uri": uri, "exit-on-error": False}

        def play(machine: Machine) -> None:
            if "class" in machine.qmp.execute("migrate-incoming", arguments):
                return
            while True:
                status = machine.qmp.execute("query-migrate", quietly=True).get("status")
                if status in ("completed", "failed"):
                    break
            if status == "completed":
                while machine.qmp.execute("query-status", quietly=True)["status"] == "inmigrate":
                    pass
            machine.qmp.execute("query-status")
            machine.qmp.execute("query-migrate", view=lambda told: told | {"total-time": 0})

        self._each(play)


@pytest.mark.hypothesis
@pytest.mark.parametrize("pair", [Pair, Arrivals])
def test_a_script_of_commands_means_the_same_to_both(pair: type[Pair], qemu: Program) -> None:
    run_state_machine_as_test(
        pair,
        settings=settings(
            max_examples=SCRIPTS,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# Garbage. Both clients stay in-band: with out-of-band execution enabled QEMU 10.0.2 itself may
# abort when one packet holds many documents.

_TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b" ",
    b"\n",
    b"'",
    b'"',
    b"\\",
    b"true",
    b"null",
    b"-",
]
_WORDS = [b"'execute'", b'"execute"', b"'arguments'", b"'id'", b"'exec-oob'", b"'control'"]
_NUMBERS = [b"0", b"-1", b"1e5", b"18446744073709551616", b"0.1", b"01", b"%d"]
_DOCUMENTS = [
    b'{"execute": "query-status"}',
    b"{'execute': 'stop', 'id': 'a'}",
    b'{"execute": "cont", "id": {"b": [1, null]}}',
    b'{"execute": "nope", "id": 1.5}',
    b'{"execute": "query-name", "arguments": {"x": 1}}',
    b'{"execute": "qmp_capabilities"}',
    b'{"exec-oob": "query-status"}',
    b'{"execute": "migrate", "arguments": {"uri": 3}}',
    b'{"execute": "human-monitor-command", "arguments": {"command-line": "info name"}}',
]
_STRINGS = st.text(st.characters(codec="utf-8"), max_size=6).map(
    lambda text: json.dumps(text, ensure_ascii=False).encode()
)
PIECES = st.one_of(
    st.sampled_from(_TOKENS),
    st.sampled_from(_WORDS + _NUMBERS),
    st.sampled_from(_DOCUMENTS),
    _STRINGS,
    st.binary(max_size=4),
)
GARBAGE = st.lists(PIECES, max_size=25).map(b"".join)
RESET = b"\xff"  # no token may hold it: whatever was begun is thrown away


class Line:
    """A raw client: bytes in, messages out up to the answer of a question asked last."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = b""
        self._numbers = itertools.count()
        self.tell(b'{"execute": "qmp_capabilities"}')

    def tell(self, data: bytes) -> tuple[list[Any], list[Any]]:
        """Send it; the answers and the events that it brings."""
        last = f"end of {next(self._numbers)}"
        question = json.dumps({"execute": "query-status", "id": last}).encode()
        self._wire.write(data + RESET + question)
        told: tuple[list[Any], list[Any]] = ([], [])
        while not told[0] or told[0][-1].get("id") != last:
            message = self._message()
            if "QMP" not in message:
                message.pop("timestamp", None)
                told["event" in message].append(normal.value(message))
        del told[0][-1]["id"]
        return told

    def _message(self) -> Any:
        while b"\r\n" not in self._buffer:
            data = self._wire.read("an answer")
            assert data, "the program hung up"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return json.loads(line)


@pytest.fixture(scope="module")
def lines(qemu: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Line]]:
    with ExitStack() as scenes:
        both = []
        for program in (find_vmd(), qemu):
            scene = scenes.enter_context(stage(program, tmp_path_factory.mktemp(program.name)))
            scene.start(f"{VM} -qmp unix:other.sock,server=on,wait=off")
            both.append(Line(scene.connect("other.sock")))
        yield both


@settings(
    max_examples=PACKETS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=GARBAGE)
def test_garbage_means_the_same_to_both(lines: list[Line], data: bytes) -> None:
    ours, theirs = (line.tell(data) for line in lines)
    assert ours == theirs
