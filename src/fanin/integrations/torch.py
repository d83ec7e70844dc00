"""Check the batch that a PyTorch model is trained on, from any training loop, by one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import MissingDependencyError
from fanin.rules.config import Config, load_config
from fanin.rules.finding import Severity

if TYPE_CHECKING:
    import torch

    from fanin.watching.first_batch import FirstBatch

__all__ = ["check_first_batch"]


def check_first_batch(
    model: torch.nn.Module,
    optimizer: Any = None,
    loss: Callable[..., Any] | None = None,
    *,
    fail_on: Severity | None = None,
    out: str | Path | None = None,
    config: str | Path | Config | None = None,
) -> FirstBatch:
    """Check the first forward in training mode, with its very arguments; no data loader is touched.

    Works in a loop of your own and under Accelerate, Ignite, fastai and transformers: whatever calls the model. Keep
    what is returned until training has begun: the hook goes when it has run, or with the object. A model that is
    trained in eval mode is checked at its second batch, since only a backward pass shows that it is trained.

    Args:
        model: what is trained.
        optimizer: what trains it; adds the rule on step size.
        loss: a callable of the model's output. Without it the output's own `.loss` is used, and else a random
            cotangent.
        fail_on: severity of a finding that stops training, before the first step, by `CheckFailedError`.
        out: a file for the report; its ending gives the format.
        config: a pyproject.toml (or folder) to read [tool.fanin] from, or a `Config`.

    Returns:
        Its `report` is the report once the forward has run; `reason` says why there is none; `remove()` takes the hook
        off.

    Raises:
        ArgumentError: an argument that cannot be used.
        MissingDependencyError: torch is not installed.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(8, 1)
        >>> first = check_first_batch(model, loss=lambda output: output.square().mean())
        >>> _ = model(torch.randn(4, 8))
        >>> first.report.result.header.batch
        'inputs[0] [4, 8] float32'
    """
    try:
        from fanin.watching.first_batch import FirstBatch
    except ModuleNotFoundError as error:
        raise MissingDependencyError.instead_of(error, needed_for="fanin.integrations.torch") from error
    settings = config if isinstance(config, Config) else load_config(config)
    return FirstBatch(model, optimizer, loss, config=settings, fail_on=fail_on, out=out)
