"""The one error that a command may end with, as a client sees it.

Every floor may raise it: it knows neither monitor nor machine.
"""

from __future__ import annotations

GENERIC_ERROR = "GenericError"
COMMAND_NOT_FOUND = "CommandNotFound"
DEVICE_NOT_ACTIVE = "DeviceNotActive"
DEVICE_NOT_FOUND = "DeviceNotFound"
KVM_MISSING_CAP = "KVMMissingCap"


class QmpError(Exception):
    """A command failed: `desc` is QEMU's text, `error_class` its QapiErrorClass.

    `hint` holds QEMU's extra lines (without a final newline). QMP never shows them; the human
    monitor and stderr print them after the description.
    """

    def __init__(self, desc: str, error_class: str = GENERIC_ERROR, hint: str = "") -> None:
        super().__init__(desc)
        self.desc = desc
        self.error_class = error_class
        self.hint = hint
