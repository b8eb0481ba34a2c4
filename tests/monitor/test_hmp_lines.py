"""A line of the human monitor: what the handler gets, what is said when it does not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.expression import Expression, signed
from monitor.hmp import Hmp, HmpCommand, HmpRegistry, hmp_help, hmp_info_help
from monitor.hmp_args import Format, parse_args_type
from monitor.scanner import ArgumentError, Scanner
from qapi.error import QmpError
from tests.monitor.demo import COMMANDS, Console, Machine, registry
from tests.monitor.record_hmp import DATA

RECORDED: dict[str, Any] = json.loads((DATA / "hmp_lines.json").read_text())


def test_every_recorded_line_answers_as_qemu() -> None:
    # In one registry, because the default of a /fmt sticks.
    commands = registry()
    for case in RECORDED["lines"]:
        line = case["line"].encode("latin-1").decode("utf-8", "surrogateescape")
        answer = case["answer"].encode("latin-1").decode("utf-8", "replace")
        assert commands.run_line(Machine(), line) == answer, line


def test_what_qemu_says_on_its_own_streams_goes_there() -> None:
    console = Console()
    commands = registry(console)
    for case in RECORDED["lines"]:
        commands.run_line(Machine(), case["line"].encode("latin-1").decode("utf-8", "replace"))
    assert console.stdout == RECORDED["stdout"]
    said = "\n".join(f"qemu-system-x86_64: {text}" for text in console.stderr)
    assert said.splitlines() == RECORDED["stderr"]


def arguments(args_type: str, line: str) -> dict[str, Any]:
    """What a command with this args_type is called with."""
    got: dict[str, Any] = {}

    def handler(machine: object, hmp: Hmp, **arguments: Any) -> None:
        got.update(arguments)

    commands = HmpRegistry([HmpCommand("do", args_type, handler=handler)])
    answer = commands.run_line(None, f"do {line}")
    assert answer == ""
    return got


@pytest.mark.parametrize(
    ("args_type", "line", "expected"),
    [
        ("name:s", "  word ", {"name": "word"}),
        ("name:s?", "", {}),
        ("tls-port:i?", "5", {"tls_port": 5}),
        ("from:s", "x", {"from_": "x"}),
        ("value:S", '  a "b"  c ', {"value": 'a "b"  c '}),
        ("value:M", "2", {"value": 2 << 20}),
        ("size:o", "2", {"size": 2 << 20}),
        ("size:o", "1.5k", {"size": 1536}),
        ("size:o?,base:s?", "1b x", {"size": 1, "base": "x"}),
        ("up:b", "on", {"up": True}),
        ("up:b", "off", {"up": False}),
        ("addr:i,index:i.", "0x70.4", {"addr": 0x70, "index": 4}),
        ("addr:i,index:i.", "0x70", {"addr": 0x70}),
        ("force:-f,all:-a,name:s?", "-f", {"force": True}),
        ("force:-f,all:-a,name:s?", "-a", {"all": True}),
        ("format:-fs,name:s", "-f png x", {"format": "png", "name": "x"}),
        ("format:-fs,name:s", '-f"a b" x', {"format": "a b", "name": "x"}),
        ("device:O", "", {"device": {}}),
        ("device:O", "e1000,mac=1", {"device": {"driver": "e1000", "mac": "1"}}),
        ("device:O", "a,,b,id=x", {"device": {"driver": "a,b", "id": "x"}}),
        ("netdev:O", "user,noipv6", {"netdev": {"type": "user", "ipv6": "off"}}),
        ("fmt:/,addr:l", "/3dw 7", {"fmt": Format(3, "d", 4), "addr": 7}),
        ("fmt:/,addr:l", "/2i 7", {"fmt": Format(2, "i", -1), "addr": 7}),
        ("fmt:/,addr:l", "7", {"fmt": Format(1, "x", 4), "addr": 7}),
    ],
)
def test_arguments_reach_the_handler(args_type: str, line: str, expected: dict[str, Any]) -> None:
    assert arguments(args_type, line) == expected


def test_a_letter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no argument type 'Z'"):
        parse_args_type("name:Z")


def test_the_demo_table_uses_letters_that_exist() -> None:
    for command in COMMANDS:
        assert command.parameters or not command.args_type


def value(text: str) -> int:
    registers = {"eip": 0x1000, "cs.base": -1}
    return Expression(Scanner(text, lambda text: None), registers.get).read()


def test_registers_are_looked_up_by_their_whole_name() -> None:
    assert value("$eip + 1") == 0x1001
    assert value("$cs.base") == -1


@given(st.text("0123456789abcx()+-*/%&|^~'$ ", max_size=40))
def test_an_expression_is_a_value_of_64_bits_or_an_argument_error(text: str) -> None:
    try:
        assert value(text) == signed(value(text))
    except ArgumentError as error:
        assert "\n" not in str(error)


@given(
    st.recursive(
        st.integers(0, 1 << 64).map(str),
        lambda inner: st.builds("({}{}{})".format, inner, st.sampled_from("+-*&|^"), inner),
        max_leaves=20,
    )
)
def test_parenthesised_expressions_wrap_as_64_bit_numbers(text: str) -> None:
    if str(1 << 64) not in text:
        assert value(text) == signed(eval(text))


def test_deep_nesting_costs_no_stack() -> None:
    assert value("-(" * 100_001 + "1" + ")" * 100_001) == -1


WORDS = st.sampled_from(
    [name for command in COMMANDS for name in command.names]
    + [
        "info",
        "-",
        "-f",
        "-d",
        "/2x",
        '"',
        "\\",
        "on",
        "1",
        "1.5G",
        "$pc",
        "(",
        "a,b=c",
        ",",
        "\udcff",
        "é",
    ]
)


@given(st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=8).map(" ".join))
def test_any_line_is_answered_with_whole_lines(line: str) -> None:
    answer = registry().run_line(Machine(), line)
    assert isinstance(answer, str)
    assert "\n" not in answer.replace("\r\n", "")
    assert "Internal error" not in answer


def test_an_error_of_a_handler_is_printed_with_its_hint() -> None:
    def handler(machine: object, hmp: Hmp) -> None:
        raise QmpError("no", hint="two\nlines")

    commands = HmpRegistry([HmpCommand("do", handler=handler)])
    assert commands.run_line(None, "do") == "Error: no\r\ntwo\r\nlines\r\n"


def test_a_bug_in_a_handler_is_shown_to_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    def handler(machine: object, hmp: Hmp) -> None:
        raise ZeroDivisionError("oops")

    commands = HmpRegistry([HmpCommand("do", handler=handler)])
    assert commands.run_line(None, "do") == "Error: Internal error: ZeroDivisionError: oops\r\n"
    assert "ZeroDivisionError: oops" in capsys.readouterr().err


def test_a_newline_in_a_line_is_a_blank() -> None:
    machine = Machine()
    assert registry().run_line(machine, "chardev-remove\nx\n") == "Error: Chardev 'x' not found\r\n"
    assert registry().run_line(machine, "\n") == ""


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    assert registry().run_line(Machine(), "\udcff") == "unknown command: '\ufffd'\r\n"


async def test_an_async_handler_gives_an_awaitable_text() -> None:
    async def handler(machine: object, hmp: Hmp) -> None:
        hmp.print("done\n")

    answer = HmpRegistry([HmpCommand("do", handler=handler)]).run_line(None, "do")
    assert not isinstance(answer, str)
    assert await answer == "done\r\n"


def test_nobody_types_at_human_monitor_command() -> None:
    seen: list[object] = []

    def handler(machine: object, hmp: Hmp) -> None:
        seen.extend([hmp.interactive, list(hmp.history), hmp.cpu_index])
        hmp.read_password(seen.append)

    commands = HmpRegistry([HmpCommand("do", handler=handler)])
    answer = commands.run_line(None, "do", cpu_index=3)
    assert seen == [False, [], 3]
    assert answer == "terminal does not support password prompting\r\n"


# Help

HELP_TABLE = [
    HmpCommand("stop|s", help="halt", handler=print),
    HmpCommand("eject", "", "[-f] device", "take it out\n\t\t\tnow", print),
    HmpCommand("help|?", "name:S?", "[cmd]", "explain", hmp_help, preconfig=True),
    HmpCommand("info", "item:s?", "[x]", "show", hmp_info_help, True, [
        HmpCommand("version", help="which", handler=print, preconfig=True),
        HmpCommand("name", help="who", handler=print),
    ]),
]  # fmt: skip


def ask(line: str, preconfig: bool = False) -> str:
    pieces: list[str] = []
    commands = HmpRegistry(HELP_TABLE, topics={"log": lambda: "items\n"})
    hmp = Hmp(commands, None, pieces.append, preconfig=lambda: preconfig)
    assert commands.execute(hmp, line) is None
    return "".join(pieces)


def test_help_lists_all_commands_sorted_by_their_first_name() -> None:
    assert ask("help") == (
        "eject [-f] device -- take it out\n\t\t\tnow\n"
        "help|? [cmd] -- explain\n"
        "info [x] -- show\n"
        "stop|s  -- halt\n"
    )


def test_info_alone_lists_its_sub_commands() -> None:
    assert ask("info") == ask("help info") == "info name  -- who\ninfo version  -- which\n"


def test_a_topic_is_explained_only_alone() -> None:
    assert ask("help log") == "items\n"
    assert ask("help log x") == "unknown command: 'log'\n"


def test_before_the_machine_exists_help_leaves_out_what_cannot_be_used() -> None:
    assert ask("help", preconfig=True) == "help|? [cmd] -- explain\ninfo [x] -- show\n"
    assert ask("info", preconfig=True) == "info version  -- which\n"
    assert ask("help stop", preconfig=True) == "unknown command: 'stop'\n"


def test_before_the_machine_exists_most_commands_are_refused() -> None:
    refusal = "Command '{}' not available until machine initialization has completed.\n"
    assert ask("stop now", preconfig=True) == refusal.format("stop")
    assert ask("info  name x", preconfig=True) == refusal.format("info  name")


def test_two_commands_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        HmpRegistry([HmpCommand("stop|s"), HmpCommand("s")])
