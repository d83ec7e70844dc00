"""The head of a report: what was checked, with which versions, and where its classes are defined."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fanin._version import __version__
from fanin.rules.result import Header

if TYPE_CHECKING:
    import torch

    from fanin.measure.record import Measurements

__all__ = ["header_of"]


def header_of(
    model: torch.nn.Module, found: Measurements, seconds: Mapping[str, float], seeds: range, target: str
) -> Header:
    """What was checked, with what.

    Args:
        model: the module as it is, not compiled.
        found: what was measured of it.
        seconds: wall time of the passes.
        seeds: of all draws.
        target: what the command line was given.
    """
    import torch

    parameters = list(model.parameters())
    tensors = [*parameters, *model.buffers()]
    dtypes = [str(p.dtype).removeprefix("torch.") for p in parameters]
    return Header(
        model_class=type(model).__name__,
        num_parameters=sum(p.numel() for p in parameters),
        num_trainable=sum(p.numel() for p in parameters if p.requires_grad),
        num_modules=sum(1 for _ in model.modules()),
        batch=", ".join(f"{i.name} {list(i.shape)} {i.dtype}" for i in found.inputs) or "no tensor",
        dtype=max(set(dtypes), key=dtypes.count) if dtypes else "none",
        device=str(tensors[0].device) if tensors else "cpu",
        training=found.training,
        seeds=tuple(seeds),
        seconds=dict(seconds),
        versions={"fanin": __version__, "torch": torch.__version__, "python": platform.python_version()},
        source_lines=_source_lines(model),
        target=target,
    )


def _source_lines(model: torch.nn.Module) -> dict[str, tuple[str, int]]:
    """Module path -> (file, line) of its class, for classes that are not a library's."""
    found: dict[str, tuple[str, int]] = {}
    by_class: dict[type, tuple[str, int] | None] = {}
    for name, module in model.named_modules():
        kind = type(module)
        if kind not in by_class:
            by_class[kind] = _place(kind)
        place = by_class[kind]
        if place is not None:
            found[name] = place
    return found


def _place(kind: type) -> tuple[str, int] | None:
    try:
        file = inspect.getsourcefile(kind)
        if file is None or "site-packages" in file or not Path(file).is_file():
            return None
        return file, inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):
        return None
