"""What the fuzzer has found worth keeping holds in every run of the tests, without the fuzzer."""

from __future__ import annotations

from tests.fuzz.decoder import check, corpus, recorded


def test_the_corpus_holds() -> None:
    for data in (*corpus(), *recorded()):
        check(data[: 1 << 16])
