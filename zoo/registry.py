"""The zoo's table: name -> builder of (model, keyword arguments of one call). No downloads, every model is small."""

from collections.abc import Callable
from typing import Any

import torch

Builder = Callable[[], tuple[torch.nn.Module, dict[str, Any]]]
BUILDERS: dict[str, Builder] = {}


def register(build: Builder) -> Builder:
    BUILDERS[build.__name__] = build
    return build


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def token_ids(batch=2, tokens=16, vocabulary=128):
    return torch.randint(5, vocabulary - 1, (batch, tokens), generator=generator())


def images(batch=2, channels=3, size=32):
    return torch.randn(batch, channels, size, size, generator=generator())


def numbers(*shape):
    return torch.randn(*shape, generator=generator())
