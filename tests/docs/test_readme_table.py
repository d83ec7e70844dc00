"""The README's table holds what the code above it gives."""

from __future__ import annotations

import pytest

from tools.readme_table import PAGE, numbers_of, updated

TEXT = PAGE.read_text(encoding="utf-8")


def differs(told: str, made: str) -> bool:
    """Whether a loss is 10 %, or a share a hundredth, away from what the code gives."""
    pairs = list(zip(numbers_of(told), numbers_of(made), strict=True))
    losses, shares = pairs[::2], pairs[1::2]
    return any(abs(a - b) > 0.1 * b for a, b in losses) or any(abs(a - b) > 0.01 for a, b in shares)


@pytest.mark.slow
def test_the_table_is_what_the_code_above_it_gives():
    assert not differs(TEXT, updated(TEXT))


def test_another_loss_or_share_is_seen():
    assert len(numbers_of(TEXT)) == 8
    assert not differs(TEXT, TEXT)
    loss, share = numbers_of(TEXT)[:2]
    assert differs(TEXT.replace(f"{loss:.3f}", f"{1.2 * loss:.3f}"), TEXT)
    assert differs(TEXT.replace(f"{share:.1%}", "50.0%"), TEXT)
