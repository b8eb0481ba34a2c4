"""What all tests share: who the judge is, and an account of what was not asked of it.

Tests that need real QEMU take the fixture `qemu`. Where it is not installed they are skipped with
the reason; with VMD_REQUIRE_QEMU=1 in the environment they fail instead, so that a run which should
have asked the judge cannot pass without.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.differential.stage import Program, find_qemu, find_vmd, stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.differential.stage import Stage

JUDGE = "10.0.2"

# `make test` tries the same examples each time; `make fuzz` many more, and other ones each time.
settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("fuzz", max_examples=2000, deadline=None, derandomize=False)
settings.load_profile("default")


def _version(program: Program) -> str:
    first_line = subprocess.run(
        [*program.argv, "-version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    return first_line.removeprefix("QEMU emulator version ").partition(" ")[0]


@pytest.fixture(scope="session")
def qemu() -> Program:
    """Real QEMU, of the version that vmd behaves like."""
    program = find_qemu()
    if program is None:
        missing = "real QEMU is not installed"
    elif _version(program) != JUDGE:
        missing = f"real QEMU is {_version(program)}, the judge is {JUDGE}"
    else:
        return program
    if os.environ.get("VMD_REQUIRE_QEMU") == "1":
        pytest.fail(f"{missing}, and VMD_REQUIRE_QEMU=1 asks for it")
    pytest.skip(missing)


# Each on a stage, in one directory: either finds what the other has left there.


@pytest.fixture
def vmd(tmp_path: Path) -> Iterator[Stage]:
    with stage(find_vmd(), tmp_path) as scene:
        yield scene


@pytest.fixture
def real(qemu: Program, tmp_path: Path) -> Iterator[Stage]:
    with stage(qemu, tmp_path) as scene:
        yield scene


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skipped tests by reason: nothing goes unasked without a word."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        terminalreporter.section("not asked")
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count:5} {reason.removeprefix('Skipped: ')}")
