"""A place in a model that is no module itself: hooks then say whose operation one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Part"]


class Part(torch.nn.Module):
    """Runs what it is given, inside the hooks of its own path.

    Attributes:
        takes_batch_statistics: it is a batch norm, which is in training at the first step when dropout is off.

    Example:
        >>> Part()(lambda x: 2 * x, 3)
        6
    """

    takes_batch_statistics = False

    def forward(self, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the function gives for these arguments."""
        return run(*args, **kwargs)
