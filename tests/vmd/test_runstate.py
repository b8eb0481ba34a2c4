import pytest
from hypothesis import given
from hypothesis import strategies as st

from qapi import load
from qapi.error import QmpError
from vmd.runstate import LIVE, TRANSITIONS, RunState, RunStateMachine

STATES = st.sampled_from(list(RunState))


def test_the_states_are_those_of_the_schema_in_its_order() -> None:
    assert tuple(state.value for state in RunState) == load().enum("RunState")


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(RunState)


@pytest.mark.parametrize(
    ("old", "new"),
    [("postmigrate", "paused"), ("postmigrate", "suspended"), ("shutdown", "running")],
)
def test_a_step_that_is_not_in_the_table_is_refused_in_qemus_words(old: str, new: str) -> None:
    machine = RunStateMachine(RunState(old))
    with pytest.raises(QmpError, match=f"invalid runstate transition: '{old}' -> '{new}'"):
        machine.become(RunState(new))
    assert machine.state is RunState(old)


@given(STATES, st.lists(STATES))
def test_no_sequence_of_steps_leaves_the_table(start: RunState, steps: list[RunState]) -> None:
    machine = RunStateMachine(start)
    for new in steps:
        old = machine.state
        if machine.may_become(new):
            machine.become(new)
            assert new is old or new in TRANSITIONS[old]
        else:
            with pytest.raises(QmpError):
                machine.become(new)
            assert machine.state is old
        assert machine.is_live == (machine.state in LIVE)
