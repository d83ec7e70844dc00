"""Write a plan into a Keras model: every variable that is drawn, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fanin.errors import FillError

__all__ = ["assign_all", "init_"]


def init_(
    model: Any,
    inputs: Any = None,
    *,
    recipe: str = "auto",
    seed: int | None = 0,
    targets: Any = None,
    loss: Callable[..., Any] | None = None,
    **options: Any,
) -> Any:
    """Plan a built Keras model, try the plan, and assign the new weights: all of them, or none after an error.

    The name of each weight is its ``variable.path``, and so is the name of its stream; layers that were given no name
    are counted within the model for the stream, so a model that is built twice gets the same weights. Moving
    statistics, states of random generators and frozen layers stay as they are.

    Args:
        model: on the torch or the JAX backend.
        inputs: one batch, as the model is called with it; a tuple is several positional arguments.
        recipe: as in `fanin.plan`.
        seed: as in `fanin.init_`.
        targets: for the first loss of the trial, as in `fanin.init_`.
        loss: likewise; a function of torch tensors.
        options: everything else that `fanin.init_` takes.

    Returns:
        The plan that was written.

    Raises:
        ArgumentError: the model is not built, or runs on a backend that fanin does not follow.
        PlanError: two variables have the same path, or the recipe cannot place one.
        WorseStartError: the planned start is worse than the one that the model has; nothing was written.
    """
    from fanin.planning.initialise import init_ as init_torch

    return init_torch(model, inputs, recipe=recipe, seed=seed, targets=targets, loss=loss, **options)


def assign_all(model: Any, values: Mapping[str, Any]) -> None:
    """Assign values to variables by path; where one assignment ends in an exception, all are put back.

    Args:
        model: a Keras model.
        values: path -> torch tensor.

    Raises:
        FillError: an assignment failed.
    """
    wanted = [(v, values[v.path]) for v in model.variables if v.path in values]
    before = [(v, v.value) for v, _ in wanted]
    try:
        for variable, value in wanted:
            variable.assign(_as_array(value))
    except BaseException as error:
        for one, old in before:
            one.assign(old)
        if not isinstance(error, Exception):
            raise
        why = str(error).partition(". ")[0]
        raise FillError(
            f"assigning {variable.path!r} failed: {type(error).__name__}: {why}. All variables are as they were."
        ) from error


def _as_array(tensor: Any) -> Any:
    import torch

    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
