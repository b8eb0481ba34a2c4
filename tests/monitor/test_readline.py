"""The line editor shows what QEMU shows, and survives any bytes."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.hmp_session import HmpSession
from monitor.readline import HISTORY_LINES, LINE_BYTES, Completion, History, LineEditor
from tests.monitor.demo import Machine, registry
from tests.monitor.record_hmp import DATA, make_files

RECORDED: list[dict[str, str]] = json.loads((DATA / "hmp_keys.json").read_text())


def session() -> HmpSession:
    return HmpSession(
        registry(), Machine(), written=lambda: None, spawn=lambda work: None, version="10.0.2"
    )


def shown(session: HmpSession, *typed: bytes) -> bytes:
    """What the session shows in the end; commands run as soon as their line is complete."""
    for piece in typed:
        session.received(piece)
        while session.waiting:
            session.run()
    return session.take_output()


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["name"])
def test_keys_show_what_qemu_shows(
    case: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    human = session()
    human.opened()
    screen = shown(human, case["typed"].encode("latin-1"))
    if case["shown"].startswith("sha256:"):
        assert "sha256:" + hashlib.sha256(screen).hexdigest() == case["shown"]
    else:
        assert screen.decode("latin-1") == case["shown"]


# Keys rather than bytes, so that editing is reached often.
KEYS = st.sampled_from(
    [bytes([b]) for b in range(32)]
    + [b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D", b"\x1b[3~", b"\x9b", b"\x7f", b"\x1bO"]
    + [b"info ", b"eject ", b"help ", b'"', b"/", b"(", b"-", b"1", b"$", b"change vnc password\n"]
)
TYPED = st.lists(st.one_of(KEYS, st.binary(max_size=6)), max_size=60).map(b"".join)


@given(TYPED)
def test_any_bytes_leave_the_session_at_a_prompt(typed: bytes) -> None:
    human = session()
    human.opened()
    shown(human, typed)
    if human.hmp.machine.running:  # type: ignore[attr-defined]
        assert b"unknown command: '@'" in shown(human, b"\n\x05\x15\n@\n@\n")


@given(TYPED, st.lists(st.integers(0, 400)))
def test_how_bytes_are_cut_does_not_matter(typed: bytes, cuts: list[int]) -> None:
    at_once, in_pieces = session(), session()
    at_once.opened()
    in_pieces.opened()
    edges = [0, *sorted(cut for cut in cuts if cut < len(typed)), len(typed)]
    pieces = [typed[a:b] for a, b in pairwise(edges)]
    assert shown(at_once, typed) == shown(in_pieces, *pieces)


def editor(candidates: list[bytes] | None = None) -> LineEditor:
    return LineEditor(b"> ", lambda before: Completion(len(before), candidates or []), History())


def type_(line: LineEditor, typed: bytes) -> list[bytes]:
    return [done for byte in typed if (done := line.feed(byte)) is not None]


@given(st.lists(st.sampled_from([b"x" * 1000, b"\x1b[D", b"\x01", b"\x09", b"\x10", b"y\n"])))
def test_a_line_never_holds_more_than_4095_bytes(keys: list[bytes]) -> None:
    line = editor([b"z" * 300])
    for done in type_(line, b"".join(keys) + b"\n"):
        assert len(done) <= LINE_BYTES


def test_history_forgets_the_oldest_line() -> None:
    history = History()
    for number in range(HISTORY_LINES + 3):
        history.add(b"%d" % number)
    assert history.lines == [b"%d" % number for number in range(3, HISTORY_LINES + 3)]


def test_more_than_256_candidates_are_not_shown() -> None:
    found = Completion(0, [b"%03d" % number for number in range(300)])
    assert len(found.candidates) == 256


def test_candidates_are_offered_once() -> None:
    assert Completion(0, [b"a", b"b", b"a"]).candidates == [b"a", b"b"]


def test_a_candidate_wider_than_the_screen_stands_on_its_own_line() -> None:
    found = Completion(0, [b"b" * 100, b"a"])
    assert found.columns() == b"a".ljust(80) + b"\r\n" + b"b" * 100 + b"\r\n"


def test_a_password_is_shown_as_stars_and_not_remembered() -> None:
    line = editor()
    line.secret = True
    assert type_(line, b"pw\n") == [b"pw"]
    assert b"pw" not in line.output
    assert line.history.lines == []
