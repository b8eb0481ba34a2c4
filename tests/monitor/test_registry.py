"""Schema entries and handlers under one name."""

from __future__ import annotations

import json
from typing import Any

import pytest

import qapi
from monitor.registry import Handler, QmpRegistry, as_keyword
from qapi.error import QmpError
from qapi.introspect import introspect
from tests.monitor.stand import registry, schema


def table() -> dict[str, Any]:
    names = [name for name in schema().commands if name != "qmp_capabilities"]
    return dict.fromkeys(names, lambda machine, **_: None)


def test_a_command_without_a_handler_is_found() -> None:
    handlers = table()
    del handlers["stop"]
    with pytest.raises(ValueError, match=r"commands without a handler: \['stop'\]"):
        QmpRegistry(schema(), handlers, {}).demand_same_names()


def test_a_handler_without_a_command_is_found() -> None:
    with pytest.raises(ValueError, match=r"handlers without a command: \['nosuch'\]"):
        QmpRegistry(schema(), {**table(), "nosuch": print}, {}).demand_same_names()


def test_a_command_with_two_handlers_is_found() -> None:
    with pytest.raises(ValueError, match=r"two handlers: \['stop'\]"):
        QmpRegistry(schema(), table(), {"stop": print}).demand_same_names()


def test_arguments_reach_the_handler_under_python_names() -> None:
    def rename(machine: object, *, old_name: str, from_: str = "nowhere") -> Any:
        return machine, old_name, from_

    command = registry({"netdev-rename": rename}).find("netdev-rename")
    assert command is not None
    assert command.call("m", None, {"old-name": "a", "from": "b"}) == ("m", "a", "b")
    assert command.call("m", None, {"old-name": "c"}) == ("m", "c", "nowhere")


def test_arguments_that_do_not_fit_the_schema_never_reach_the_handler() -> None:
    command = registry().find("netdev-rename")
    assert command is not None
    with pytest.raises(QmpError, match="Parameter 'old-name' is missing"):
        command.call("m", None, {})


def test_arguments_that_the_schema_does_not_describe_keep_their_names() -> None:
    seen = {}
    commands = registry({"device_add": lambda machine, /, **kw: seen.update(kw)})
    command = commands.find("device_add")
    assert command is not None
    command.call("m", None, {"driver": "x", "disable-legacy": "on", "machine": 1})
    assert seen == {"driver": "x", "disable-legacy": "on", "machine": 1}


def test_a_session_handler_gets_the_monitor_that_asks() -> None:
    def getfd(machine: object, monitor: object, *, fdname: str) -> Any:
        return machine, monitor, fdname

    command = registry(session_handlers={"getfd": getfd}).find("getfd")
    assert command is not None
    assert command.call("m", "monitor", {"fdname": "x"}) == ("m", "monitor", "x")


def test_an_unknown_name_is_no_command() -> None:
    assert registry().find("nosuch") is None


def test_a_handler_that_cannot_take_its_arguments_is_found_out() -> None:
    def handler(machine: object, *, uri: str) -> None: ...

    problems = registry({"migrate": handler, "stop": lambda: None}).signature_problems()
    assert [problem.partition(":")[0] for problem in problems] == ["stop"] * 2 + ["migrate"] * 2
    assert registry().signature_problems() == []


@pytest.mark.parametrize(
    ("name", "keyword"), [("uri", "uri"), ("fdset-id", "fdset_id"), ("from", "from_")]
)
def test_a_python_name_has_no_dash_and_is_no_keyword(name: str, keyword: str) -> None:
    assert as_keyword(name) == keyword


def test_the_schema_is_told_once_and_kept_as_text() -> None:
    whole = qapi.load()
    handlers: dict[str, Handler] = dict.fromkeys(whole.commands, lambda *_: None)
    del handlers["qmp_capabilities"]
    commands = QmpRegistry(whole, handlers, {}, check_returns=True)
    assert json.loads(commands.introspection()) == introspect(whole)
    assert commands.introspection() is commands.introspection()
