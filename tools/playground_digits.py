"""The digits of the interactive page, packed from scikit-learn's.

    python -m tools.playground_digits

writes ``src/fanin/report/playground/source/digits.bin``: 64 pixels of four bits for each of the 1,797 digits (the
value 16 becomes 15), then four bits for each label; the lower half of a byte comes first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["FILE", "packed"]

FILE = Path(__file__).parents[1] / "src/fanin/report/playground/source/digits.bin"


def packed() -> bytes:
    """The content of the file."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.minimum(data.data, 15).astype(np.uint8).ravel()
    halves = np.concatenate([pixels, data.target.astype(np.uint8)])
    halves = np.append(halves, np.zeros(len(halves) % 2, np.uint8))
    return (halves[0::2] | (halves[1::2] << 4)).tobytes()


if __name__ == "__main__":
    FILE.write_bytes(packed())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")
