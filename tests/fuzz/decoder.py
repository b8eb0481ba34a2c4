"""The JSON decoder under coverage-guided fuzzing: `python -m tests.fuzz.decoder` (needs atheris).

It begins with the inputs that real QEMU's answers were recorded for and those of `corpus.txt` (one
a line, in hex), and runs for a minute; more arguments are libFuzzer's. What it finds stays in
`build/fuzz/`; `python -m tests.fuzz.decoder --keep` writes that into the corpus.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha1
from importlib.util import find_spec
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus.txt")
RECORDED = Path(__file__).parents[1] / "monitor" / "data"
FOUND = Path("build/fuzz")
LONGEST = 4096


def check(data: bytes) -> None:
    """What holds of any bytes: the split does not show, nor does the shortcut; all can be told."""
    whole = _documents(data)
    assert _documents(*(bytes((byte,)) for byte in data)) == whole
    assert _documents(data[: len(data) // 2], data[len(data) // 2 :]) == whole
    assert _documents(data, shortcut=False) == whole


def _documents(*parts: bytes, shortcut: bool = True) -> list[str]:
    """What comes out, told as a reply would tell it (repr() would fail on the deepest)."""
    from monitor.json import INCOMPLETE, JsonDecoder, JsonError, encode

    decoder = JsonDecoder()
    found: list[str] = []
    for part in parts:
        decoder.feed(part)
        decoder._plain = decoder._plain and shortcut
        while (document := decoder.next()) is not INCOMPLETE:
            found.append(encode(document.desc if isinstance(document, JsonError) else document))
            assert found[-1].isascii() and "\n" not in found[-1]
        assert decoder.pending == 0
    return found


def recorded() -> Iterator[bytes]:
    """The inputs whose replies real QEMU has given."""
    for name in ("json-inputs.jsonl", "qmp-inputs.jsonl"):
        for line in (RECORDED / name).read_text().splitlines():
            yield bytes.fromhex(json.loads(line)["input_hex"])


def corpus() -> list[bytes]:
    """What fuzzing has found beyond them."""
    return [bytes.fromhex(line) for line in CORPUS.read_text().splitlines()]


def keep() -> None:
    """Take over what the last runs have found."""
    known = set(recorded())
    found = {file.read_bytes() for file in FOUND.iterdir()} | set(corpus())
    lines = sorted((data.hex() for data in found - known), key=lambda line: (len(line), line))
    CORPUS.write_text("".join(f"{line}\n" for line in lines))


def fuzz(options: list[str]) -> None:
    import atheris

    with atheris.instrument_imports():
        import monitor.json
        import monitor.json_encoder
        import monitor.json_lexer  # noqa: F401
    FOUND.mkdir(parents=True, exist_ok=True)
    for data in (*recorded(), *corpus()):
        if len(data) <= LONGEST:
            (FOUND / sha1(data).hexdigest()).write_bytes(data)
    fixed = [f"-max_len={LONGEST}", "-max_total_time=60", "-artifact_prefix=build/", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *fixed, *options, str(FOUND)], lambda data: check(bytes(data)))
    atheris.Fuzz()


def main(words: list[str]) -> None:
    if words == ["--keep"]:
        keep()
    elif find_spec("atheris") is None:
        print("the decoder is not fuzzed: atheris is not installed")
    else:
        fuzz(words)


if __name__ == "__main__":
    main(sys.argv[1:])
