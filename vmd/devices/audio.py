"""Backends for sound. There is only the silent one: nothing is played, but it is told how it would.

Observed from audio/audio.c.
"""

from __future__ import annotations

from typing import Any

from qapi.error import QmpError

TIMER_PERIOD = 10_000  # microseconds
_MOST_VOICES = (1 << 31) - 1


def completed(asked: dict[str, Any]) -> dict[str, object]:
    """The schema's Audiodev with all that goes without saying; QmpError if it makes no sense."""
    return {
        **asked,
        "timer-period": asked.get("timer-period", TIMER_PERIOD),
        "in": _direction(asked.get("in", {})),
        "out": _direction(asked.get("out", {})),
    }


def _direction(asked: dict[str, Any]) -> dict[str, object]:
    mixes = asked.get("mixing-engine", True)
    is_fixed = asked.get("fixed-settings", mixes)
    if not is_fixed and any(name in asked for name in ("frequency", "channels", "format")):
        text = "You can't use frequency, channels or format with fixed-settings=off"
        raise QmpError(text)
    if is_fixed and not mixes:
        raise QmpError("You can't use fixed-settings without mixeng")
    return {
        "mixing-engine": mixes,
        "fixed-settings": is_fixed,
        "frequency": 44100,
        "channels": 2,
        "voices": 1 if mixes else _MOST_VOICES,
        "format": "s16",
        **asked,
    }
