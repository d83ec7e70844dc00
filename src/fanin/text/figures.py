"""An empty figure to draw in, made without a display; matplotlib is an extra and is loaded here alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanin.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["assert_can_draw", "empty_figure"]


def assert_can_draw() -> None:
    """Return where matplotlib is installed, without loading it.

    Raises:
        MissingDependencyError: it is not installed.
    """
    MissingDependencyError.unless_installed("matplotlib", extra="plots", needed_for="a figure")


def empty_figure(*, size: tuple[float, float], **options: Any) -> Figure:
    """A figure without axes that needs no display.

    Args:
        size: width and height, inches.
        options: for ``matplotlib.figure.Figure``.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    assert_can_draw()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", **options)
    FigureCanvasAgg(figure)
    return figure
