"""Drawing with matplotlib: one look, legible at 800 pixels, in colour-blind palettes and in grey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fanin.text.figures import assert_can_draw, empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "DASHES", "MARKERS", "drawn", "figure", "histogram", "log_axis", "series", "smooth", "style"]

# Okabe and Ito 2008, the colour-blind safe palette, in an order of falling contrast to white; lightness differs between
# neighbours, and every series also has its own dash and marker, so grey prints keep them apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#8C6D31")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)), "-", (0, (5, 2)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_RC: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "fanin",
}


F = TypeVar("F", bound=Callable[..., Any])


def drawn(draw: F) -> F:
    """Decorate a function that draws: everything in it takes the common look."""

    @wraps(draw)
    def in_style(*args: Any, **kwargs: Any) -> Any:
        assert_can_draw()
        import matplotlib

        with matplotlib.rc_context(_RC):
            return draw(*args, **kwargs)

    return in_style  # type: ignore[return-value]


def figure(rows: int, columns: int, *, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure and its array of axes (always two-dimensional), in the common look; needs no display.

    Call it in a function marked `drawn`.

    Args:
        rows: of axes.
        columns: of axes.
        size: inches; 8 inches wide is 800 pixels on a screen.
        options: for ``Figure.subplots``.
    """
    fig = empty_figure(size=size)
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def style(i: int) -> dict[str, Any]:
    """Colour, dash and marker of the i-th series."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[i % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
    }


def series(ax: Axes, i: int, x: ArrayLike, y: ArrayLike, label: str, *, marks: int = 8, **options: Any) -> None:
    """The i-th line of a plot, with about `marks` markers along it."""
    every = max(1, np.size(x) // marks)
    ax.plot(np.asarray(x), np.asarray(y), label=label, markevery=every, **{**style(i), **options})


def log_axis(ax: Axes, which: str = "y") -> None:
    """A logarithmic axis with a light grid."""
    (ax.set_yscale if which == "y" else ax.set_xscale)("log")


def histogram(ax: Axes, i: int, values: Any, *, edges: Any, label: str, filled: bool = False) -> None:
    """A density outline over common bin edges, values beyond them left out; `filled` adds a light area."""
    density, _ = np.histogram(values, bins=edges, density=True)
    ax.stairs(
        density, edges, color=COLOURS[i % len(COLOURS)], linestyle=DASHES[i % len(DASHES)], label=label, linewidth=1.5
    )
    if filled:
        ax.stairs(density, edges, fill=True, color=COLOURS[i % len(COLOURS)], alpha=0.15)


def smooth(values: Sequence[float], window: int) -> Any:
    """Running mean over the last `window` values."""
    if not len(values):
        return np.zeros(0)
    total = np.cumsum(np.concatenate([[0.0], np.asarray(values, dtype=np.float64)]))
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    return (total[ends] - total[begins]) / (ends - begins)
