"""The optimizer of a check: what the rules need of it, and whether it holds the parameters of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.checking.job import first_step_of, optimizer_of
from fanin.errors import ArgumentError
from fanin.text.names import clean, one_line
from fanin.text.numbers import big

if TYPE_CHECKING:
    import torch

    from fanin.measure.task import FirstStep
    from fanin.rules.base import Optimizer

__all__ = ["Trainer", "masters", "trainer_of"]

_NAMED = 4  # parameters that the header names


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """What a check knows of the optimizer.

    Attributes:
        settings: for the rules; None where no optimizer was given.
        first_step: what its first step changes; None where that is not known.
        said: its name, its rate and the parameters that it does not hold, for the header; "" where none was given.
        held: ids of the tensors that it trains.
    """

    settings: Optimizer | None = None
    first_step: FirstStep | None = None
    said: str = ""
    held: frozenset[int] = frozenset()


def trainer_of(optimizer: Any, model: torch.nn.Module, *, must_hold: bool) -> Trainer:
    """What a check needs of an optimizer.

    Args:
        optimizer: it, a function of a list of parameters that makes one (its class is such a function), or None.
        model: that it trains.
        must_hold: refuse an optimizer, no function, that holds no trainable parameter of the model.

    Raises:
        ArgumentError: it has no parameter groups, it holds nothing of the model, or the function raised.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2)
        >>> trainer_of(torch.optim.SGD([model.bias], lr=0.1), model, must_hold=True).said
        'SGD, lr 0.1, does not hold 1 of 2 trainable parameters: weight'
    """
    if optimizer is None:
        return Trainer()
    made = _made(optimizer, model)
    settings = optimizer_of(made)
    if settings is None:
        raise ArgumentError("the function given as optimizer returned None; return the optimizer that it makes")
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    groups, copied = masters(made, model)
    held = frozenset(id(p) for group in groups for p in group["params"])
    lost = [name for key, name in names.items() if key not in held]
    none = bool(lost) and len(lost) == len(names)
    if none and must_hold and made is optimizer:
        raise ArgumentError(_holds_nothing(settings.name, len(lost)))
    # An optimizer beside a function that builds the model lends its settings: it cannot hold what is not built yet.
    missing = "" if none and made is optimizer else _said(lost, len(names))
    return Trainer(
        settings=settings,
        first_step=first_step_of(made, groups),
        said=f"{settings.name}, lr {big(settings.lr)}{copied}{missing}",
        held=held,
    )


_Groups = Sequence[Mapping[str, Any]]


def masters(optimizer: Any, model: torch.nn.Module) -> tuple[_Groups, str]:
    """(its groups, words for the header); where it holds copies of the model's parameters, these in their place.

    Mixed-precision wrappers keep float32 copies of weights in half precision and train those. Copies are known by
    their shapes and values, in the model's order.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2).bfloat16()
        >>> optimizer = torch.optim.SGD([p.detach().float() for p in model.parameters()], lr=0.1)
        >>> masters(optimizer, model)[1]
        ', holds float32 copies of the parameters'
    """
    own = [p for p in model.parameters() if p.requires_grad]
    given = [p for group in optimizer.param_groups for p in group["params"]]
    if not own or len(given) != len(own) or not all(map(_is_copy, given, own)):
        return optimizer.param_groups, ""
    of = dict(zip(map(id, given), own, strict=True))
    groups = [{**group, "params": [of[id(p)] for p in group["params"]]} for group in optimizer.param_groups]
    return groups, f", holds {str(given[0].dtype).removeprefix('torch.')} copies of the parameters"


def _is_copy(master: torch.Tensor, own: torch.Tensor) -> bool:
    same = master is not own and master.shape == own.shape and master.device == own.device and not own.is_meta
    return same and bool((master.detach().to(own.dtype) == own.detach()).all())


def _made(optimizer: Any, model: torch.nn.Module) -> Any:
    if hasattr(optimizer, "param_groups") or not callable(optimizer) or hasattr(optimizer, "named_parameters"):
        return optimizer
    try:
        return optimizer([p for p in model.parameters() if p.requires_grad])
    except Exception as error:
        raise ArgumentError(
            f"the function given as optimizer raised {type(error).__name__}: {one_line(error)}. It is called with the "
            "list of trainable parameters, as in optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)"
        ) from error


def _holds_nothing(name: str, count: int) -> str:
    return (
        f"optimizer ({name}) holds none of the {count} trainable parameters of this model, so that its steps would not "
        "change it. Make it from this model's parameters, or give a function that makes it: optimizer=lambda "
        f"parameters: {name}(parameters, lr=...). The function is needed, too, for an optimizer of flat copies"
    )


def _said(lost: list[str], count: int) -> str:
    if not lost:
        return ""
    if len(lost) == count:
        return f", holds none of the {count} trainable parameters"
    named = ", ".join(map(clean, lost[:_NAMED])) + (", ..." if len(lost) > _NAMED else "")
    return f", does not hold {len(lost)} of {count} trainable parameters: {named}"
