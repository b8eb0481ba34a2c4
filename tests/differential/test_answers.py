"""The same questions, put to vmd and to real QEMU: the answers are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.differential.book import Question, all_questions, play, recorded, without_what_is_lacking
from tests.differential.stage import Unavailable, find_vmd

if TYPE_CHECKING:
    from tests.differential.stage import Program

# Real QEMU's threads race at a few places (an event may overtake an answer). What is recorded is
# what it nearly always says; it may try again, vmd may not.
RACES = 3

every_question = pytest.mark.parametrize("question", all_questions(), ids=lambda q: q.title)


def _recorded(question: Question) -> list[str]:
    answer = recorded(question)
    assert answer is not None, "nobody has asked real QEMU this yet: make record"
    return answer


def _played(question: Question, program: Program) -> list[str]:
    try:
        return play(question, program)
    except Unavailable as reason:
        pytest.skip(str(reason))


@every_question
def test_vmd_answers_as_qemu_does(question: Question) -> None:
    transcript = _played(question, find_vmd())
    assert transcript == without_what_is_lacking(_recorded(question), transcript)


@every_question
def test_the_recorded_answer_is_still_what_qemu_says(question: Question, qemu: Program) -> None:
    transcript = _played(question, qemu)
    for _ in range(RACES):
        if transcript == _recorded(question):
            break
        transcript = play(question, qemu)
    assert transcript == _recorded(question)
