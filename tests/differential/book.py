"""All questions, how one is played, and the recorded answers of real QEMU.

`python -m tests.differential.book [NAME…]` records the answers of the installed QEMU anew, all of
them or those whose name contains one of the words.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.differential import questions
from tests.differential.stage import Program, Stage, find_qemu, stage
from tests.differential.wires import OPTIONAL, Stuck

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWERS = Path(__file__).with_name("answers")


class Question(NamedTuple):
    """One scene; `subject` is its module, `needs` what the host must offer for it."""

    subject: str
    name: str
    scene: Callable[[Stage], None]

    @property
    def title(self) -> str:
        return f"{self.subject}: {self.name.replace('_', ' ')}"


def all_questions() -> list[Question]:
    """Every public function of the question modules that takes a stage, in order of appearance."""
    found = []
    for module_info in pkgutil.iter_modules(questions.__path__):
        module = importlib.import_module(f"{questions.__name__}.{module_info.name}")
        for name, scene in vars(module).items():
            if (
                inspect.isfunction(scene)
                and scene.__module__ == module.__name__
                and not name.startswith("_")
                and list(inspect.signature(scene).parameters) == ["stage"]
            ):
                found.append(Question(module_info.name, name, scene))
    return found


def play(question: Question, program: Program) -> list[str]:
    """The transcript of one question, played in a directory of its own.

    A wait in vain ends the transcript with a line that says so.
    """
    with (
        tempfile.TemporaryDirectory(prefix="vmd-") as directory,
        stage(program, Path(directory)) as scene,
    ):
        try:
            question.scene(scene)
        except Stuck as stuck:
            scene.note(f"# STUCK: {stuck}")
        return scene.transcript


def recorded(question: Question) -> list[str] | None:
    """What real QEMU answered when it was asked last."""
    path = ANSWERS / f"{question.subject}.json"
    answers = json.loads(path.read_text()) if path.exists() else {}
    transcript: list[str] | None = answers.get(question.name)
    return transcript


def without_what_is_lacking(expected: list[str], transcript: list[str]) -> list[str]:
    """The expected transcript without those optional lines that the other one does not have."""
    return [line for line in expected if not line.startswith(OPTIONAL) or line in transcript]


def record(words: list[str]) -> None:
    """Ask the installed QEMU, and write its answers down, but not where a wait was in vain."""
    qemu = find_qemu()
    if qemu is None:
        raise SystemExit("qemu-system-x86_64 is not installed: nothing to record from")
    everything = all_questions()
    wanted = [q for q in everything if not words or any(word in q.title for word in words)]
    for subject in dict.fromkeys(question.subject for question in wanted):
        path = ANSWERS / f"{subject}.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        for question in (q for q in wanted if q.subject == subject):
            transcript = play(question, qemu)
            # Kept, it would be an answer that a vmd which gets stuck as well agrees with.
            stuck = transcript[-1].startswith("# STUCK")
            if not stuck:
                known[question.name] = transcript
            print(f"{transcript[-1]}:" if stuck else "ok   ", question.title, flush=True)
        names = [question.name for question in everything if question.subject == subject]
        answers = {name: known[name] for name in names if name in known}
        path.write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    record(sys.argv[1:])
