"""The words: the schema of all commands and events, its compiler and its checks.

Knows nothing but itself; see `load`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qapi.schema import Schema


def load() -> Schema:
    """The schema in `qapi/schema`, compiled or from the cache.

    Raises qapi.parser.QapiSyntaxError if a schema file has been broken.
    """
    from qapi import cache, schema

    return schema.Schema(cache.load())
