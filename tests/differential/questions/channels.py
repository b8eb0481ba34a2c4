"""Ways for a stream: addresses, connections that fail, peers that hang up, talk nonsense, stall."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.differential.scenes import (
    NONE,
    PRIVATE,
    capabilities,
    leave,
    load,
    ram_full_of_data,
    save,
    settle,
)
from tests.differential.stage import Unavailable, drained

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from tests.differential.stage import Machine, Stage

SMALL = f"{NONE} -nodefaults"
MIGRATION = {"instances": [{"type": "migration"}]}
END_OF_DESCRIPTION = b"]}"
ADAPTER = Path("/dev/infiniband/rdma_cm")
SHUT = b"\0\1\0\4"


def _ram_is_moving(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"ram": dict.fromkeys(answer["ram"], "<number>")} if "ram" in answer else answer


def _with_any_port(answer: dict[str, Any]) -> dict[str, Any]:
    told = [{**one, "port": "<port>"} for one in answer.get("socket-address", [])]
    return answer | {"socket-address": told}


def _look(machine: Machine) -> None:
    machine.qmp.execute("query-migrate", view=_ram_is_moving)
    machine.qmp.execute("query-status")
    machine.qmp.execute("query-yank")


# Addresses.


def _all_refused(stage: Stage, command: str, start: str, uris: Sequence[str]) -> None:
    machine = stage.start(start)
    for uri in uris:
        machine.qmp.execute(command, {"uri": uri})
    machine.qmp.execute("query-migrate")
    leave(machine)


BAD_URIS = (
    *("tcp:", "tcp:x", "tcp:127.0.0.1", "tcp:127.0.0.1:", "tcp::", "tcp:[::1]", "tcp:[::1:1"),
    *("tcp:127.0.0.1:1,to=x", "tcp:127.0.0.1:1,ipv4=x", f"tcp:{'1' * 70}:1", "TCP:127.0.0.1:1"),
    *("unix:", "fd:", "vsock:", "vsock:1", "vsock::", "file", "exec", "unix", "", "/a/path", "x:y"),
)


def addresses_that_are_none(stage: Stage) -> None:
    _all_refused(stage, "migrate", SMALL, BAD_URIS)


def addresses_that_are_none_for_a_destination(stage: Stage) -> None:
    _all_refused(stage, "migrate-incoming", f"{SMALL} -incoming defer", BAD_URIS)


def channels_that_are_none(stage: Stage) -> None:
    machine = stage.start(SMALL)
    for addr in (
        {"transport": "socket"},
        {"transport": "socket", "type": "bogus"},
        {"transport": "socket", "type": "unix"},
        {"transport": "socket", "type": "inet", "host": "127.0.0.1"},
        {"transport": "exec"},
        {"transport": "bogus"},
    ):
        machine.qmp.execute("migrate", {"channels": [{"channel-type": "main", "addr": addr}]})
    leave(machine)


UNREACHABLE: tuple[dict[str, Any], ...] = (
    {"type": "unix", "path": "nobody"},
    {"type": "unix", "path": "nobody", "abstract": True},
    {"type": "unix", "path": "p" * 109},
    {"type": "inet", "host": "127.0.0.1", "port": "1"},
    {"type": "inet", "host": "127.0.0.1", "port": "1", "ipv6": True, "numeric": True},
    {"type": "inet", "host": "127.0.0.1", "port": "1", "ipv4": False, "ipv6": False},
    {"type": "inet", "host": "127.0.0.1", "port": "no-service"},
    {"type": "inet", "host": "", "port": "1"},
    {"type": "vsock", "cid": "x", "port": "1"},
)


def connections_that_fail(stage: Stage) -> None:
    machine = stage.start(SMALL)
    capabilities(machine, "events")
    for addr in UNREACHABLE:
        channel = {"channel-type": "main", "addr": {"transport": "socket", **addr}}
        machine.qmp.execute("migrate", {"channels": [channel]})
        machine.qmp.wait("MIGRATION", status="failed")
        machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    leave(machine)


def connections_that_fail_by_uri(stage: Stage) -> None:
    machine = stage.start(f"{SMALL} -S")
    capabilities(machine, "events")
    for uri in ("unix:nobody", "tcp:127.0.0.1:1", "tcp:[::1]:1,to=7", "unix:a,abstract=on"):
        machine.qmp.execute("migrate", {"uri": uri})
        machine.qmp.wait("MIGRATION", status="failed")
        machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    leave(machine)


def a_connection_that_fails_at_the_human_monitor(stage: Stage) -> None:
    machine = stage.start(SMALL, qmp=False, human="pipe")
    machine.human.type("migrate -d unix:nobody")
    machine.human.type_until("info migrate", "Migration status: failed")
    machine.human.type("info migrate")
    machine.human.type("migrate unix:nobody")
    machine.human.type("migrate -d tcp:x")
    machine.human.type("migrate -d fd:nobody")
    machine.human.leave()
    machine.exited()


# Where a destination listens.


def listening_addresses(stage: Stage) -> None:
    for uri in ("tcp:127.0.0.1:0", "tcp::0", "tcp:localhost:0,ipv4"):
        machine = stage.start(f"{SMALL} -incoming {uri}")
        machine.qmp.execute("query-migrate", view=_with_any_port)
        leave(machine)


def a_listener_is_in_the_file_system_until_the_end(stage: Stage) -> None:
    machine = stage.start(f"{SMALL} -incoming unix:in")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-yank")
    machine.qmp.execute("yank", MIGRATION)
    machine.qmp.execute("migrate-incoming", {"uri": "unix:other"})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.execute("migrate_cancel")
    _look(machine)
    leave(machine)


def _any_port(rows: list[str]) -> list[str]:
    return [re.sub(r"(tcp:.*):\d+$", r"\1:<port>", row) for row in rows]


def listening_addresses_at_the_human_monitor(stage: Stage) -> None:
    for uri in ("unix:in", "tcp::0"):
        machine = stage.start(f"{SMALL} -incoming {uri}", qmp=False, human="pipe")
        machine.human.type("info migrate", view=_any_port)
        machine.human.leave()
        machine.exited()


def listeners_that_cannot_listen(stage: Stage) -> None:
    for uri in ("unix:nowhere/in", "tcp:1.2.3.4:55", "fd:nobody", "vsock:1:x"):
        machine = stage.start(f"{SMALL} -incoming defer")
        capabilities(machine, "events")
        machine.qmp.execute("migrate-incoming", {"uri": uri})
        _look(machine)
        machine.qmp.execute("migrate-incoming", {"uri": "unix:in"})
        leave(machine)


def a_command_that_is_none(stage: Stage) -> None:
    channel = {"channel-type": "main", "addr": {"transport": "exec", "args": ["/nowhere/cat"]}}
    machine = stage.start(f"{SMALL} -incoming defer")
    machine.qmp.execute("migrate-incoming", {"channels": [channel]})
    leave(machine)
    machine = stage.start(SMALL)
    machine.qmp.execute("migrate", {"channels": [channel]})
    _look(machine)
    leave(machine)


def incoming_forms_of_the_command_line(stage: Stage) -> None:
    main = '{"channel-type": "main", "addr": {"transport": "socket", "type": "unix", "path": "in"}}'
    for arg in (
        main,
        "main,addr.transport=socket,addr.type=unix,addr.path=in",
        "addr.transport=exec,addr.args.0=/bin/sleep,addr.args.1=1000,channel-type=main",
    ):
        machine = stage.start(f"{SMALL} -incoming '{arg}'")
        _look(machine)
        leave(machine)


def programs_without_a_path(stage: Stage) -> None:
    addresses = [
        {"transport": "exec", "args": args} for args in (["sh"], ["true"], [""], ["./none"], ["/"])
    ]
    machine = stage.start(NONE)
    for address in addresses:
        machine.qmp.execute("migrate", {"channels": [{"channel-type": "main", "addr": address}]})
    leave(machine)
    for address in addresses[:3]:
        machine = stage.start(f"{NONE} -incoming defer")
        channels = [{"channel-type": "main", "addr": address}]
        machine.qmp.execute("migrate-incoming", {"channels": channels})
        leave(machine)


def sets_of_descriptors_that_are_none(stage: Stage) -> None:
    machine = stage.start(NONE)
    for name in ("", "abc", "1x", " 1", "+1", "-1", "0", "2147483648", "99999999999", "/1"):
        machine.qmp.execute("migrate", {"uri": f"file:/dev/fdset/{name}"})
    leave(machine)
    machine = stage.start(f"{NONE} -incoming defer")
    machine.qmp.execute("migrate-incoming", {"uri": "file:/dev/fdset/abc"})
    leave(machine)


def a_destination_has_nothing_to_continue(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -incoming defer", human="pipe")
    machine.qmp.execute("migrate-incoming", {"uri": "unix:in"})
    for state in ("setup", "none", "active"):
        machine.qmp.execute("migrate-continue", {"state": state})
    machine.human.type("migrate_continue setup")
    machine.qmp.execute("query-migrate")
    leave(machine)


def descriptors_that_are_none(stage: Stage) -> None:
    machine = stage.start(SMALL)
    for name in ("fd:nobody", "fd:1", "fd:12abc"):
        machine.qmp.execute("migrate", {"uri": name})
    _look(machine)
    leave(machine)
    machine = stage.start(f"{SMALL} -incoming defer")
    machine.qmp.execute("migrate-incoming", {"uri": "fd:77"})
    _look(machine)
    leave(machine)


# From one machine to another.


def _pair(
    stage: Stage, uri: str, *names: str, source: str = SMALL, mode: str = "normal"
) -> tuple[Machine, Machine]:
    """A destination that listens, and a source."""
    target = stage.start(f"{SMALL} -incoming defer")
    capabilities(target, "events", *names)
    target.qmp.execute("migrate-incoming", {"uri": uri})
    machine = stage.start(source)
    capabilities(machine, "events", *names)
    machine.qmp.execute("migrate-set-parameters", {"mode": mode})
    return target, machine


def _go(machine: Machine, target: Machine, uri: str = "unix:in") -> None:
    machine.qmp.execute("migrate", {"uri": uri})
    settle(machine)
    target.qmp.wait("MIGRATION", status="completed")
    _look(machine)
    _look(target)
    leave(machine)
    leave(target)


def from_one_machine_to_another(stage: Stage) -> None:
    target, machine = _pair(stage, "unix:in")
    _go(machine, target)


def a_paused_machine_to_another(stage: Stage) -> None:
    target, machine = _pair(stage, "unix:in")
    machine.qmp.execute("stop")
    _go(machine, target)


def a_stopped_machine_to_another(stage: Stage) -> None:
    target, machine = _pair(stage, "unix:in", source=f"{SMALL} -S")
    _go(machine, target)


def to_another_in_cpr_reboot(stage: Stage) -> None:
    target, machine = _pair(stage, "unix:in", mode="cpr-reboot")
    _go(machine, target)


def to_another_with_a_return_path(stage: Stage) -> None:
    target, machine = _pair(stage, "unix:in", "return-path")
    _go(machine, target)


def to_another_that_acknowledges_the_switchover(stage: Stage) -> None:
    target, machine = _pair(stage, "unix:in", "return-path", "switchover-ack")
    _go(machine, target)


def to_another_with_a_pause_before_the_switchover(stage: Stage) -> None:
    target, machine = _pair(stage, "unix:in", "pause-before-switchover")
    machine.qmp.execute("migrate", {"uri": "unix:in"})
    machine.qmp.wait("MIGRATION", status="pre-switchover")
    machine.qmp.execute("query-status")
    machine.qmp.execute("migrate-continue", {"state": "pre-switchover"})
    settle(machine)
    target.qmp.wait("MIGRATION", status="completed")
    leave(machine)
    leave(target)


def through_a_command_and_back(stage: Stage) -> None:
    machine = stage.start(SMALL)
    capabilities(machine, "events")
    save(machine, "exec:cat > vm.state")
    _look(machine)
    leave(machine)
    target = stage.start(f"{SMALL} -incoming defer")
    capabilities(target, "events")
    load(target, "exec:cat vm.state")
    _look(target)
    leave(target)


def through_a_descriptor_and_back(stage: Stage) -> None:
    machine = stage.start(SMALL)
    capabilities(machine, "events")
    with stage.file("vm.state").open("wb") as out:
        machine.qmp.execute("getfd", {"fdname": "out"}, fd=out.fileno())
    save(machine, "fd:out")
    machine.qmp.execute("cont")
    machine.qmp.execute("migrate", {"uri": "fd:out"})
    leave(machine)
    target = stage.start(f"{SMALL} -incoming defer")
    capabilities(target, "events")
    with stage.file("vm.state").open("rb") as source:
        target.qmp.execute("getfd", {"fdname": "in"}, fd=source.fileno())
    load(target, "fd:in")
    leave(target)


def through_a_set_of_descriptors_and_back(stage: Stage) -> None:
    machine = stage.start(SMALL)
    capabilities(machine, "events")
    with stage.file("vm.state").open("wb") as out:
        machine.qmp.execute("add-fd", {"fdset-id": 7}, view=lambda _: "<fd>", fd=out.fileno())
    save(machine, "file:/dev/fdset/7")
    leave(machine)
    target = stage.start(f"{SMALL} -incoming defer")
    capabilities(target, "events")
    with stage.file("vm.state").open("rb") as source:
        target.qmp.execute("add-fd", {"fdset-id": 8}, view=lambda _: "<fd>", fd=source.fileno())
    load(target, "file:/dev/fdset/8")
    leave(target)


# Peers of a source that do what no program does.


def _to_peer(
    stage: Stage, *names: str, mode: str = "normal", arguments: str = PRIVATE
) -> tuple[Machine, socket.socket]:
    """A machine that migrates to us, with more data than a socket holds."""
    if "ram0" in arguments:
        ram_full_of_data(stage)
        stage.exact = False
    listener = stage.listener("peer")
    machine = stage.start(arguments)
    capabilities(machine, "events", *names)
    machine.qmp.execute("migrate-set-parameters", {"mode": mode})
    machine.qmp.execute("migrate", {"uri": "unix:peer"})
    return machine, listener.accept()


def _failed(machine: Machine, *, was_stopped: bool = False) -> None:
    machine.qmp.wait("MIGRATION", status="failed")
    if was_stopped:
        machine.qmp.wait("RESUME")
    machine.qmp.execute("query-status", quietly=True)
    _look(machine)
    leave(machine)


def a_peer_that_hangs_up_in_the_middle(stage: Stage) -> None:
    machine, peer = _to_peer(stage)
    machine.qmp.wait("MIGRATION", status="active")
    peer.close()
    _failed(machine)


def a_peer_that_hangs_up_in_the_middle_of_cpr_reboot(stage: Stage) -> None:
    machine, peer = _to_peer(stage, mode="cpr-reboot")
    machine.qmp.wait("MIGRATION", status="active")
    peer.close()
    _failed(machine, was_stopped=True)


def a_peer_that_stalls_is_yanked(stage: Stage) -> None:
    machine, _ = _to_peer(stage)
    machine.qmp.wait("MIGRATION", status="active")
    _look(machine)
    machine.qmp.execute("yank", MIGRATION)
    _failed(machine)


def _cancelled(machine: Machine) -> None:
    _look(machine)
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    _look(machine)
    leave(machine)


def a_peer_that_stalls_is_left(stage: Stage) -> None:
    machine, _ = _to_peer(stage)
    machine.qmp.wait("MIGRATION", status="active")
    _cancelled(machine)


def a_peer_that_stalls_is_left_in_cpr_reboot(stage: Stage) -> None:
    machine, _ = _to_peer(stage, mode="cpr-reboot")
    machine.qmp.wait("MIGRATION", status="active")
    _cancelled(machine)


def a_peer_that_never_says_that_it_has_everything(stage: Stage) -> None:
    machine, peer = _to_peer(stage, "return-path", arguments=SMALL)
    machine.qmp.wait("MIGRATION_PASS", **{"pass": 2})
    drained(peer, END_OF_DESCRIPTION)
    _cancelled(machine)


def _after_everything(stage: Stage, answer: bytes, status: str) -> None:
    machine, peer = _to_peer(stage, "return-path", arguments=SMALL)
    drained(peer, END_OF_DESCRIPTION)
    if answer:
        peer.sendall(answer)
    else:
        peer.close()
    if status == "failed":
        _failed(machine, was_stopped=True)
        return
    settle(machine, status)
    _look(machine)
    leave(machine)


def a_peer_that_has_everything(stage: Stage) -> None:
    _after_everything(stage, SHUT + b"\0\0\0\0", "completed")


def a_peer_that_could_not_load_it(stage: Stage) -> None:
    _after_everything(stage, SHUT + b"\0\0\0\7", "failed")


def a_peer_that_hangs_up_without_a_word(stage: Stage) -> None:
    _after_everything(stage, b"", "failed")


def a_peer_that_answers_nonsense(stage: Stage) -> None:
    _after_everything(stage, b"\0\x09\0\0", "failed")


def a_peer_that_answers_too_much(stage: Stage) -> None:
    _after_everything(stage, b"\0\1\0\5\0\0\0\0\0", "failed")


def a_peer_that_asks_for_pages_of_nothing(stage: Stage) -> None:
    _after_everything(stage, b"\0\3\0\x10" + bytes(12) + b"\3who", "failed")


def a_peer_that_acknowledges_late(stage: Stage) -> None:
    machine, peer = _to_peer(stage, "return-path", "switchover-ack", arguments=f"{SMALL} -S")
    drained(peer, END_OF_DESCRIPTION)  # who does not run need not wait for it
    peer.sendall(SHUT + b"\0\0\0\0")
    settle(machine)
    leave(machine)


def a_return_path_to_a_file(stage: Stage) -> None:
    machine = stage.start(SMALL)
    capabilities(machine, "events", "return-path")
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    _failed(machine, was_stopped=True)


def an_acknowledgement_needs_a_return_path(stage: Stage) -> None:
    machine = stage.start(SMALL)
    capabilities(machine, "switchover-ack")
    capabilities(machine, "return-path", "switchover-ack")
    states = [{"capability": "return-path", "state": False}]
    machine.qmp.execute("migrate-set-capabilities", {"capabilities": states})
    leave(machine)


# Peers of a destination.


def _from_peer(stage: Stage, *names: str, **how: Any) -> tuple[Machine, bytes]:
    """A destination that listens, and a good stream for it."""
    machine = stage.start(SMALL)
    capabilities(machine, "events")
    save(machine)
    leave(machine)
    target = stage.start(f"{SMALL} -incoming defer")
    capabilities(target, "events", *names)
    target.qmp.execute("migrate-incoming", {"uri": "unix:in", **how})
    return target, stage.file("vm.state").read_bytes()


STAY = {"exit-on-error": False}


def a_source_that_says_nothing(stage: Stage) -> None:
    target, _ = _from_peer(stage)
    source = stage.connect("in")
    target.qmp.wait("MIGRATION", status="active")
    _look(target)
    source.close()
    target.qmp.end()
    target.exited()


def a_source_that_says_nothing_is_yanked(stage: Stage) -> None:
    target, _ = _from_peer(stage, **STAY)
    stage.connect("in")
    target.qmp.wait("MIGRATION", status="active")
    target.qmp.execute("yank", MIGRATION)
    target.qmp.wait("MIGRATION", status="failed")
    _look(target)
    leave(target)


def a_source_that_talks_nonsense(stage: Stage) -> None:
    target, _ = _from_peer(stage)
    stage.connect("in").write(b"nonsense" * 1000)
    target.qmp.end()
    target.exited()


def a_source_that_hangs_up_in_the_middle(stage: Stage) -> None:
    target, stream = _from_peer(stage, **STAY)
    source = stage.connect("in")
    source.write(stream[:20000])
    source.close()
    target.qmp.wait("MIGRATION", status="failed")
    target.qmp.execute("query-status")
    target.qmp.execute("quit")


def a_source_too_many(stage: Stage) -> None:
    target, stream = _from_peer(stage)
    source = stage.connect("in")
    target.qmp.wait("MIGRATION", status="active")
    other = stage.connect("in")
    assert other.read("the end") == b""
    source.write(stream)
    target.qmp.wait("MIGRATION", status="completed")
    _look(target)
    leave(target)


def _with_return_path(stream: bytes) -> bytes:
    """The stream of a source that wants answers: behind its head, the commands for that."""
    head = 8 + 5 + len("none")
    return stream[:head] + bytes.fromhex("0800010000 0800020004 00000001") + stream[head:]


def _answered(stage: Stage, *names: str) -> None:
    target, stream = _from_peer(stage, *names)
    source = stage.connect("in")
    source.write(_with_return_path(stream))
    said = b""
    while data := source.read("answers"):
        said += data
    stage.note(f"# {said.hex()}")
    leave(target)


def a_source_that_wants_answers(stage: Stage) -> None:
    _answered(stage)


def a_source_that_wants_an_acknowledgement(stage: Stage) -> None:
    _answered(stage, "return-path", "switchover-ack")


def a_source_that_wants_answers_to_a_bad_stream(stage: Stage) -> None:
    target, stream = _from_peer(stage, **STAY)
    source = stage.connect("in")
    source.write(_with_return_path(stream)[:35] + b"nonsense" * 100)
    said = b""
    while data := source.read("answers"):
        said += data
    stage.note(f"# {said.hex()}")
    leave(target)


def a_stopped_destination_that_goes_on_somewhere_else(stage: Stage) -> None:
    target, stream = _from_peer(stage)
    target.qmp.execute("stop")
    source = stage.connect("in")
    writing = threading.Thread(target=source.write, args=(stream,))
    writing.start()
    target.qmp.wait("MIGRATION", status="completed")
    writing.join()
    save(target, "file:other.state")
    _look(target)
    leave(target)


def names_of_odd_characters(stage: Stage) -> None:
    machine = stage.start(NONE)
    capabilities(machine, "events")
    for uri in (
        *("unix:a\0b", "unix:\xe9", "tcp:a\0b:1", "tcp:127.0.0.1:1\0", f"tcp:{'a' * 64}:1"),
        *("tcp:a..b:1", "tcp:\xe9:1", "tcp:.:1", "tcp:localhost:\xe9", "tcp:127.0.0.1:-1"),
    ):
        machine.qmp.execute("migrate", {"uri": uri})
        settle(machine, "failed")
        machine.qmp.execute("query-migrate")
    machine.qmp.execute("migrate", {"uri": "fd:a\0b"})
    for uri in ("file:a\0b", "file:\0"):
        machine.qmp.execute("migrate", {"uri": uri})
        settle(machine)
        machine.qmp.execute("cont")
    leave(machine)
    stage.note(f"# {sorted(file.name for file in stage.directory.iterdir() if len(file.name) < 5)}")
    for uri in ("fd:a\0b", "tcp:a..b:1"):
        machine = stage.start(f"{NONE} -incoming defer")
        machine.qmp.execute("migrate-incoming", {"uri": uri})
        leave(machine)


def a_path_of_nothing(stage: Stage) -> None:
    machine = stage.start(NONE)
    capabilities(machine, "events")
    for more in ({}, {"abstract": True}, {"abstract": True, "tight": False}):
        address = {"transport": "socket", "type": "unix", "path": "", **more}
        channels = [{"channel-type": "main", "addr": address}]
        machine.qmp.execute("migrate", {"channels": channels})
        settle(machine, "failed")
        machine.qmp.execute("query-migrate")
    leave(machine)


def a_host_without_an_adapter(stage: Stage) -> None:
    if ADAPTER.exists():
        raise Unavailable("this host has RDMA adapters")
    machine = stage.start(SMALL, human="pipe")
    main = {"transport": "rdma", "host": "127.0.0.1", "port": "4444"}
    channels = [{"channel-type": "main", "addr": main}]
    capabilities(machine, "events", "rdma-pin-all")
    for goal in (
        {"uri": "rdma:127.0.0.1:4444"},
        {"uri": "rdma:[::1]:1,to=9"},
        {"channels": channels},
    ):
        machine.qmp.execute("migrate", goal)
        _look(machine)
    machine.human.type("migrate -d rdma:127.0.0.1:4444")
    machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    machine.qmp.execute("migrate", {"uri": "rdma:127.0.0.1:4444"})
    _look(machine)
    capabilities(machine, "mapped-ram")
    machine.qmp.execute("migrate", {"uri": "rdma:127.0.0.1:4444"})
    leave(machine)
    target = stage.start(f"{SMALL} -incoming defer")
    capabilities(target, "events")
    target.qmp.execute("migrate-incoming", {"uri": "rdma:127.0.0.1:4444"})
    _look(target)
    target.qmp.execute("migrate-incoming", {"channels": channels})
    leave(target)
    stage.refused(f"{SMALL} -incoming rdma:127.0.0.1:4444")
