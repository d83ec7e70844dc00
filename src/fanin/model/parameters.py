"""Where the parameters of a torch model live: names, ties, and the parametrizations in front of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Slot", "parametrized_tensors", "slots_of", "state_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One parameter of a live model.

    Attributes:
        name: its first qualified name.
        aliases: the other names of the same tensor.
        tensor: the parameter itself.
        through: qualified name of the parametrized tensor that it is a part of; empty for a plain parameter.
    """

    name: str
    aliases: tuple[str, ...]
    tensor: torch.Tensor
    through: str = ""

    @property
    def dtype(self) -> str:
        """Its dtype without the ``torch.`` prefix."""
        return str(self.tensor.dtype).removeprefix("torch.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.tensor.shape)


def slots_of(model: torch.nn.Module) -> dict[str, Slot]:
    """All parameters of a model by first qualified name, each once, in the order of the model.

    Example:
        >>> import torch
        >>> list(slots_of(torch.nn.Linear(2, 3)))
        ['weight', 'bias']
    """
    names: dict[int, list[str]] = {}
    tensors: dict[int, Any] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
        tensors[id(tensor)] = tensor
    through = {p: tensor for tensor, parts in parametrized_tensors(model).items() for p in parts}
    return {
        n[0]: Slot(name=n[0], aliases=tuple(n[1:]), tensor=tensors[i], through=through.get(n[0], ""))
        for i, n in names.items()
    }


def parametrized_tensors(model: torch.nn.Module) -> dict[str, tuple[str, ...]]:
    """Qualified name of each parametrized tensor -> its parameters, the one that holds the values first.

    Knows ``torch.nn.utils.parametrize`` (weight_norm, spectral_norm, orthogonal, your own) and the older hooks of
    ``torch.nn.utils.weight_norm`` and ``spectral_norm``.

    Example:
        >>> import torch
        >>> from torch.nn.utils.parametrizations import weight_norm
        >>> parametrized_tensors(weight_norm(torch.nn.Linear(2, 3)))
        {'weight': ('parametrizations.weight.original1', 'parametrizations.weight.original0')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for path, module in model.named_modules(remove_duplicate=True):
        for tensor, parts in (*_parametrized(module), *_hooked(module)):
            found[_join(path, tensor)] = tuple(_join(path, p) for p in parts)
    return found


def _parametrized(module: torch.nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    from torch.nn.utils import parametrize

    if not parametrize.is_parametrized(module):
        return
    for name, plist in module.parametrizations.items():  # type: ignore[operator, union-attr]
        own = [n for n, _ in plist.named_parameters(recurse=False)]
        # weight_norm keeps the magnitude in original0 and the direction, which has the weight's shape, in original1
        own.sort(key=lambda n: tuple(getattr(plist, n).shape) != tuple(getattr(module, name).shape) or -int(n[8:] or 0))
        extra = [n for n, _ in plist.named_parameters() if n not in own]
        yield name, tuple(f"parametrizations.{name}.{n}" for n in (*own, *extra))


def _hooked(module: torch.nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    for hook in module._forward_pre_hooks.values():
        name, kind = getattr(hook, "name", None), type(hook).__name__
        if isinstance(name, str) and kind == "WeightNorm":
            yield name, (f"{name}_v", f"{name}_g")
        elif isinstance(name, str) and kind == "SpectralNorm":
            yield name, (f"{name}_orig",)


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by qualified name (buffers that are not saved included).

    Example:
        >>> import torch
        >>> sorted(state_of(torch.nn.BatchNorm1d(2)))
        ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
