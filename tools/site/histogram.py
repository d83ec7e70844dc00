"""A histogram of drawn values as SVG, in the page's own colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["svg"]

WIDTH, HEIGHT, BARS, FOOT = 560, 170, 61, 22


def svg(values: ArrayLike, title: str) -> str:
    """Bars of equal width over the values, with their ends and zero marked; one line of text.

    Args:
        values: finite numbers.
        title: what a screen reader says.

    Example:
        >>> svg([0.0, 1.0, 1.0], "three values").count("<rect")
        2
    """
    flat = np.asarray(values, dtype="float64").ravel()
    low, high = _ends(flat)
    counts, _ = np.histogram(flat, BARS, (low, high))
    step, top = WIDTH / BARS, HEIGHT - FOOT
    heights = counts / counts.max() * (top - 4)
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{top - h:.1f}" width="{step - 0.6:.1f}" height="{max(h, 0.8):.1f}"/>'
        for i, h in enumerate(heights)
        if counts[i]
    )
    marks = "".join(_mark(x, (x - low) / (high - low) * WIDTH) for x in sorted({low, 0.0, high}) if low <= x <= high)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" class="histogram" '
        f'style="max-width:{WIDTH}px;width:100%"><g fill="currentColor" fill-opacity="0.55">{bars}</g>'
        f'<line x1="0" x2="{WIDTH}" y1="{top}" y2="{top}" stroke="currentColor"/>{marks}</svg></figure>'
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The range that is shown, with room around a single value."""
    low, high = float(values.min()), float(values.max())
    room = 0.0 if high > low else max(abs(low), 1.0) / 2
    return low - room, high + room


def _mark(value: float, x: float) -> str:
    anchor = "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"
    place = f'x="{x:.1f}" y="{HEIGHT - 6}" font-size="12" text-anchor="{anchor}"'
    return f'<text {place} fill="currentColor">{value:.3g}</text>'
