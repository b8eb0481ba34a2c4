"""The words: the schema of all commands and events, its compiler and its checks.

Knows nothing but itself; see `load`.
"""

from __future__ import annotations

from functools import cache as once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qapi.schema import Schema


@once
def load() -> Schema:
    """The schema in `qapi/schema`, compiled or from the cache; the same one for the whole process.

    Raises qapi.parser.QapiSyntaxError if a schema file has been broken.
    """
    from qapi import cache, schema

    return schema.Schema(cache.load())
