"""numpy, which scans RAM: brought in when RAM is to be scanned, or a moment before."""

from __future__ import annotations

import os

# Linear algebra, which nobody does here, would have a thread for each processor, and they spin.
_THREADS = "OPENBLAS_NUM_THREADS"


def bring_numpy() -> None:
    """Import numpy for those who then do so themselves. It takes a tenth of a second."""
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        import numpy  # noqa: F401
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before
