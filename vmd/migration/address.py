"""Where a stream goes or comes from: migration URIs and channel objects, one into the other.

Observed from migration/migration.c and migration/file.c. An address is the schema's
MigrationAddress as a plain dict: `{"transport": "file", "filename": …, "offset": …}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from qapi.size import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OFFSET_OPTION = ",offset="


def parse_uri(uri: str) -> dict[str, object]:
    """The address that a URI stands for; QmpError for a protocol that nobody speaks."""
    if uri.startswith("file:"):
        return _parse_file(uri[len("file:") :])
    raise QmpError(f"unknown migration protocol: {uri}")


def _parse_file(rest: str) -> dict[str, object]:
    filename, option, text = rest.partition(OFFSET_OPTION)
    if not option:
        return {"transport": "file", "filename": filename, "offset": 0}
    size, error = parse_size(text)
    if error is not None:
        raise QmpError(f"file URI has bad offset {text}: {error}")
    return {"transport": "file", "filename": filename, "offset": size}


def from_channels(channels: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """The address of the one main channel of a channel list."""
    mains = [channel for channel in channels if channel["channel-type"] == "main"]
    if len(mains) > 1:
        raise QmpError("Channel list has more than one main entry")
    if not mains:
        raise QmpError("Channel list has no main entry")
    address = mains[0]["addr"]
    assert isinstance(address, dict)
    return address


def choose(uri: str | None, channels: Sequence[Mapping[str, object]] | None) -> dict[str, object]:
    """The address that a command names by exactly one of its two arguments."""
    if (uri is None) == (not channels):
        raise QmpError("need either 'uri' or 'channels' argument")
    address = parse_uri(uri) if uri is not None else from_channels(channels or ())
    if address["transport"] != "file":
        # Only what a channel exists for; the schema's other transports are unknown here.
        raise QmpError(f"unknown migration protocol: {address['transport']}")
    return address
