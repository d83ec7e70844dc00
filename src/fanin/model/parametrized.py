"""Tensors that are computed from parameters: read without a trace, written through, and put back.

Three ways to have one are known: ``torch.nn.utils.parametrize`` (weight_norm, spectral_norm, orthogonal, your own), the
older hooks of ``torch.nn.utils.weight_norm`` and ``spectral_norm``, and the hooks of ``torch.nn.utils.prune``.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fanin.errors import FillError, PlanError
from fanin.model.wrappers import join, named_modules
from fanin.tensors.values import finite

if TYPE_CHECKING:
    import torch

    from fanin.initializers import Initializer
    from fanin.layout import Layout
    from fanin.streams.keys import Key

__all__ = ["Kept", "Parametrized", "computed", "fill_parameter_", "parametrized_tensors"]

_SAME = 1e-2  # relative; half precision rounds by less, and what does not follow a factor of 2 is far off
_POWER_ITERATIONS = 30  # in a round; spectral norm's vectors belong to a new weight when a round leaves its size alone
_ROUNDS = 40  # at most; the two largest singular values may be close
_STILL = 1e-4  # relative, what a round may change; sums over large float32 weights never stand more still


class _Way(Protocol):
    """How one tensor of a module is computed from parameters."""

    module: Any

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of its parameters inside the module, the one that holds the values first."""

    @property
    def written(self) -> tuple[str, ...]:
        """Those of `parts` that a new value changes."""

    @property
    def exact(self) -> bool:
        """Whether the tensor is computed to be the very value that was written; False where that is not known."""

    @property
    def orthogonal(self) -> bool:
        """Whether the tensor must come out orthogonal."""

    def value(self) -> torch.Tensor:
        """The tensor as it is now."""

    def parts_for(self, value: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """What each part must be for the tensor to be `value`."""

    def refresh(self) -> None:
        """Compute again what is remembered of the parts."""

    def copied(self) -> _Way:
        """The same on a copy of everything it reads."""

    def modules(self) -> tuple[torch.nn.Module, ...]:
        """The modules whose tables a write may change."""


@dataclass(frozen=True, slots=True)
class Parametrized:
    """A tensor that is computed from parameters.

    Attributes:
        name: its qualified name, as in ``model.fc.weight``.
        module: the module that has it as an attribute.
        attribute: the name there.
        way: how it is computed.
    """

    name: str
    module: torch.nn.Module
    attribute: str
    way: _Way

    @property
    def parts(self) -> tuple[str, ...]:
        """Qualified names of its parameters, the one that holds the values first."""
        return self._qualified(self.way.parts)

    @property
    def written(self) -> tuple[str, ...]:
        """Those of `parts` that a new value changes; the others belong to the parametrization, and stay."""
        return self._qualified(self.way.written)

    @property
    def exact(self) -> bool:
        """Whether the tensor is computed to be the very value that is written; False where that is not known."""
        return self.way.exact

    def _qualified(self, names: tuple[str, ...]) -> tuple[str, ...]:
        path = self.name[: len(self.name) - len(self.attribute)]
        return tuple(path + name for name in names)

    def value(self) -> torch.Tensor:
        """The tensor as the forward pass would find it; computed on a copy, so nothing in the model moves.

        Raises:
            PlanError: what computes it raises an error.
        """
        try:
            with _apart():
                return self.way.copied().value().detach()
        except Exception as error:
            raise PlanError(
                f"{self.name} cannot be computed: its parametrization raises {type(error).__name__}: {error}. The "
                "forward pass of the model needs it too: fix or remove the parametrization first."
            ) from error

    def with_value(self, value: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the parts and the tensor become when `value` is written, found on a copy.

        Returns:
            Part (name inside the module) -> tensor, and the tensor that is computed from them.

        Raises:
            FillError: a parametrization without ``right_inverse``.
        """
        with _apart():
            twin = self.way.copied()
            parts = {name: part.detach().clone() for name, part in twin.parts_for(value).items()}
            _copy_parts(twin, parts)
            twin.refresh()
            return parts, twin.value().detach()

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The parts themselves."""
        return tuple(self.part(name) for name in self.way.parts)

    def part(self, name: str) -> torch.Tensor:
        """One of its parameters, by its name inside the module."""
        return _part(self.module, name)

    def check(self) -> None:
        """Raise where no value can be written through, found by writing the present one on a copy.

        Raises:
            FillError: a parametrization without ``right_inverse``, or with one that does not work here.
        """
        refuse_one_way(self.module, self.attribute)
        try:
            self.with_value(self.value())
        except Exception as error:
            raise FillError(
                f"no value can be written through the parametrization of {self.name}: {type(error).__name__}: {error} "
                "Keep the parameter with an override of None"
            ) from error

    def write(self, value: torch.Tensor) -> None:
        """Set the parts so that the tensor is `value`; the generators of random numbers are as before after it.

        Raises:
            FillError: a parametrization without ``right_inverse``, or one that makes NaN of the value.
        """
        lost = self._lost()
        with _apart():
            _copy_parts(self.way, dict(self.way.parts_for(value)))
            self.way.refresh()
        made = self.value()
        if value.isfinite().all() and not made.isfinite().all():
            if lost:
                raise FillError(
                    f"{self.name} is computed from {lost}, which holds NaN or infinity, so no values help. Give "
                    f"{lost} finite values first, or take the parametrization away and put it on again"
                )
            raise FillError(
                f"{self.name} is computed to be NaN or infinite from the values drawn for it (spectral norm divides by "
                "0 where all are zero). Choose another law with an override, or None to keep it"
            )
        if self.way.orthogonal and not _is_orthogonal(made):
            raise FillError(
                f"{self.name} is parametrized to be orthogonal, and cannot be that from the values drawn for it: they "
                "are all zero, or of too low a rank. Choose a random law with an override, or None to keep it"
            )

    def scaling_part(self) -> str | None:
        """The part whose factor is a factor on the tensor, by its name inside the module; found on copies.

        None where no single part is (spectral norm gives its tensor one size whatever the parts).
        """
        import torch

        with _apart():
            now = self.way.copied().value().detach()
            for name in self.way.written:
                twin = self.way.copied()
                _part(twin.module, name).detach().mul_(2.0)
                if torch.allclose(twin.value().detach(), 2.0 * now, rtol=_SAME, atol=_SAME * float(now.abs().max())):
                    return name
        return None

    def takes_factor(self) -> bool:
        """Whether the tensor becomes what is written where that is a multiple of what it is; found on a copy."""
        import torch

        try:
            want = 2.0 * self.value()
            _, made = self.with_value(want)
        except Exception:  # without an inverse, or one that does not work here
            return False
        return torch.allclose(made, want, rtol=_SAME, atol=_SAME * float(want.abs().max()))

    def change_part(self, name: str, change: Callable[[torch.Tensor], None]) -> None:
        """Change one part in place, and compute again what is remembered of it."""
        with _apart():
            change(self.part(name).detach())
            self.way.refresh()

    def _lost(self) -> str:
        """The first buffer or parameter that the tensor is computed from, that no write changes, and that is lost."""
        inside = (f"parametrizations.{self.attribute}.", f"{self.attribute}_")
        read = {n: b for n, b in self.module.named_buffers() if n.startswith(inside)}
        read |= {n: self.part(n) for n in self.way.parts if n not in self.way.written}
        return next((self._qualified((n,))[0] for n, tensor in read.items() if not finite(tensor)), "")

    def keep(self) -> Kept:
        """All that `write` may change, to be put back."""
        return Kept(self.way.modules())


def _copy_parts(way: _Way, parts: Mapping[str, torch.Tensor]) -> None:
    for name, part in parts.items():
        _part(way.module, name).detach().copy_(part)


def _part(module: Any, name: str) -> torch.Tensor:
    *path, last = name.split(".")
    for token in path:
        module = module._modules[token]
    tensor: torch.Tensor = module._parameters[last]
    return tensor


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """No gradients are recorded, and random numbers are drawn from a state of their own, the same each time."""
    import torch

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


class Kept:
    """The tables and the numbers of some modules as they are now; `put_back` restores both.

    Tables first: a parametrization may put another tensor where a buffer was, and the old one is what the model had.

    Args:
        modules: whose parameters, buffers and attributes are kept (their own, not those of the modules inside).

    Example:
        >>> import torch
        >>> layer = torch.nn.BatchNorm1d(2)
        >>> kept, mean = Kept([layer]), layer.running_mean
        >>> layer.running_mean = torch.ones(2)
        >>> _ = mean.add_(1)
        >>> kept.put_back()
        >>> layer.running_mean is mean, mean.tolist()
        (True, [0.0, 0.0])
    """

    __slots__ = ("_tables", "_values")

    def __init__(self, modules: Iterable[torch.nn.Module]) -> None:
        import torch

        self._tables: list[tuple[dict[str, Any], dict[str, Any]]] = []
        tensors: dict[int, torch.Tensor] = {}
        for module in modules:
            for table in (module.__dict__, module._parameters, module._buffers):
                self._tables.append((table, dict(table)))
                tensors |= {id(t): t for t in table.values() if isinstance(t, torch.Tensor)}
        self._values = [(t, t.detach().clone()) for t in tensors.values() if t.device.type != "meta"]

    def put_back(self) -> None:
        """Everything as it was; safe to call again where it was interrupted."""
        for table, content in self._tables:
            table.update(content)
            for name in table.keys() - content.keys():
                del table[name]
        for tensor, copied in self._values:
            tensor.detach().copy_(copied)


# ---------------------------------------------------------------------- torch.nn.utils.parametrize
_WEIGHT_NORM, _SPECTRAL_NORM, _ORTHOGONAL = "_WeightNorm", "_SpectralNorm", "_Orthogonal"
_FAR_FROM_ORTHOGONAL = 0.1  # rounding in half precision is far below, a row of zeros far above


def _is(step: Any, name: str) -> bool:
    """Whether a step of a chain is one of torch's own."""
    return any((k.__module__, k.__qualname__) == ("torch.nn.utils.parametrizations", name) for k in type(step).__mro__)


def _is_orthogonal(value: torch.Tensor) -> bool:
    """Whether the columns of a matrix, or of each of a stack of matrices, or their rows, are orthonormal."""
    import torch

    tall = value if value.shape[-2] >= value.shape[-1] else value.mT
    tall = tall if tall.dtype.itemsize >= 4 else tall.float()
    eye = torch.eye(tall.shape[-1], dtype=tall.dtype, device=tall.device)
    return not tall.numel() or bool((tall.mH @ tall - eye).abs().max() < _FAR_FROM_ORTHOGONAL)


class _Chain:
    """A tensor behind ``torch.nn.utils.parametrize``."""

    def __init__(self, module: Any, attribute: str, chain: Any) -> None:
        self.module, self.attribute, self.chain = module, attribute, chain

    @property
    def parts(self) -> tuple[str, ...]:
        own = self._own()
        return self._placed((*own, *(n for n, _ in self.chain.named_parameters() if n not in own)))

    @property
    def written(self) -> tuple[str, ...]:
        return self._placed(tuple(self._own()))

    @property
    def exact(self) -> bool:
        return all(_is(step, _WEIGHT_NORM) for step in self.chain)

    @property
    def orthogonal(self) -> bool:
        return _is(self.chain[-1], _ORTHOGONAL)

    def _placed(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"parametrizations.{self.attribute}.{n}" for n in names)

    def _own(self) -> list[str]:
        """The originals, the one that holds the values first."""
        own = [n for n, _ in self.chain.named_parameters(recurse=False)]
        if len(own) > 1:
            with _apart():
                shape = tuple(self.copied().value().shape)
            # weight_norm keeps the magnitude in original0 and the direction, of the weight's shape, in original1
            own.reverse()
            own.sort(key=lambda n: tuple(getattr(self.chain, n).shape) != shape)
        return own

    def value(self) -> torch.Tensor:
        value: torch.Tensor = self.chain()
        return value

    def parts_for(self, value: torch.Tensor) -> Mapping[str, torch.Tensor]:
        refuse_one_way(self.module, self.attribute)
        made: Any = value
        for step in reversed(list(self.chain)):
            made = step.right_inverse(made)
        place = f"parametrizations.{self.attribute}.original"
        if not isinstance(made, (tuple, list)):
            return {place: made}
        parts = {f"{place}{i}": part for i, part in enumerate(made)}
        if _is(self.chain[0], _WEIGHT_NORM):
            return _any_direction_of_zero(parts, f"{place}0", f"{place}1")
        return parts

    def refresh(self) -> None:
        """Let spectral norm find the largest singular value of the new weight."""
        if not any(_is(step, _SPECTRAL_NORM) for step in self.chain):
            return
        flags = [m.training for m in self.chain.modules()]
        try:
            self.chain.train()
            _until_still(self.chain)
        finally:
            for m, flag in zip(self.chain.modules(), flags, strict=True):
                m.training = flag

    def copied(self) -> _Chain:
        # The chain holds all that is read; the copy of the module has no other children.
        import torch

        chain = copy.deepcopy(self.chain)
        stand_in = torch.nn.Module()
        stand_in.parametrizations = torch.nn.ModuleDict({self.attribute: chain})
        return _Chain(stand_in, self.attribute, chain)

    def modules(self) -> tuple[torch.nn.Module, ...]:
        return (self.module, *self.chain.modules())


def refuse_one_way(module: Any, attribute: str) -> None:
    """Raise where a parametrization has no inverse.

    Raises:
        FillError: it has no ``right_inverse``; the message names it.
    """
    steps = next((chain.chain for name, chain in _chained(module) if name == attribute), ())
    for step in steps:
        if not hasattr(step, "right_inverse"):
            raise FillError(
                f"{type(step).__name__} has no right_inverse, so no value can be written through it. Give it one, or "
                "keep the parameter with an override of None"
            )


def _any_direction_of_zero(parts: dict[str, torch.Tensor], size: str, direction: str) -> dict[str, torch.Tensor]:
    """A row of zeros has no direction, and zero over its norm is NaN: ones, with the size zero."""
    import torch

    empty = (parts[size] == 0).expand_as(parts[direction])
    return {**parts, direction: torch.where(empty, torch.ones_like(parts[direction]), parts[direction])}


# ---------------------------------------------------------------------- hooks
class _Hook:
    """A tensor that a hook computes before each forward pass, as an attribute of its module."""

    def __init__(self, module: Any, attribute: str, hook: Any, kind: _HookKind) -> None:
        self.module, self.attribute, self.hook, self.kind = module, attribute, hook, kind

    orthogonal = False

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.attribute + suffix for suffix in self.kind.suffixes)

    @property
    def written(self) -> tuple[str, ...]:
        return self.parts

    @property
    def exact(self) -> bool:
        return self.kind.exact

    def value(self) -> torch.Tensor:
        value: torch.Tensor = self.kind.value(self.hook, self.module)
        return value

    def parts_for(self, value: torch.Tensor) -> Mapping[str, torch.Tensor]:
        return self.kind.parts_for(self.hook, self.attribute, value)

    def refresh(self) -> None:
        self.kind.refresh(self.hook, self.module)
        setattr(self.module, self.attribute, self.value())  # the attribute still shows the old parts

    def copied(self) -> _Hook:
        import torch

        stand_in = torch.nn.Module()
        for table in ("_parameters", "_buffers"):
            own = {n: t for n, t in getattr(self.module, table).items() if n.startswith(self.attribute)}
            getattr(stand_in, table).update(copy.deepcopy(own))
        return _Hook(stand_in, self.attribute, self.hook, self.kind)

    def modules(self) -> tuple[torch.nn.Module, ...]:
        return (self.module,)


@dataclass(frozen=True, slots=True)
class _HookKind:
    """One sort of hook: the suffixes of its parameters, how it computes, and whether it changes what is written."""

    suffixes: tuple[str, ...]
    value: Callable[[Any, Any], Any]
    parts_for: Callable[[Any, str, Any], Mapping[str, Any]]
    refresh: Callable[[Any, Any], None] = lambda hook, module: None
    exact: bool = False


def _norm_parts(hook: Any, attribute: str, value: Any) -> dict[str, Any]:
    from torch import norm_except_dim

    size, direction = f"{attribute}_g", f"{attribute}_v"
    return _any_direction_of_zero({size: norm_except_dim(value, 2, hook.dim), direction: value}, size, direction)


def _until_still(iterate: Callable[[], torch.Tensor]) -> None:
    """Iterate in rounds until one of them leaves the size of the tensor as it is."""
    before = math.nan
    for _ in range(_ROUNDS):
        for _ in range(_POWER_ITERATIONS):
            made = iterate()
        size = float(made.detach().norm())
        if abs(size - before) <= _STILL * size or not math.isfinite(size):
            return
        before = size


def _iterate(hook: Any, module: Any) -> None:
    _until_still(lambda: hook.compute_weight(module, do_power_iteration=True))


def _original(hook: Any, attribute: str, value: Any) -> dict[str, Any]:
    return {f"{attribute}_orig": value}


_HOOKS: Mapping[tuple[str, str], _HookKind] = {
    ("torch.nn.utils.weight_norm", "WeightNorm"): _HookKind(
        ("_v", "_g"), lambda hook, module: hook.compute_weight(module), _norm_parts, exact=True
    ),
    ("torch.nn.utils.spectral_norm", "SpectralNorm"): _HookKind(
        ("_orig",), lambda hook, module: hook.compute_weight(module, do_power_iteration=False), _original, _iterate
    ),
    ("torch.nn.utils.prune", "BasePruningMethod"): _HookKind(
        ("_orig",), lambda hook, module: hook.apply_mask(module), _original
    ),
}


def _hooked(module: Any) -> Iterator[tuple[str, _Hook]]:
    for hook in module._forward_pre_hooks.values():
        kinds = ((k.__module__, k.__qualname__) for k in type(hook).__mro__)
        kind = next((_HOOKS[k] for k in kinds if k in _HOOKS), None)
        name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
        if kind is not None and isinstance(name, str):
            yield name, _Hook(module, name, hook, kind)


def _chained(module: Any) -> Iterator[tuple[str, _Chain]]:
    from torch import nn
    from torch.nn.utils.parametrize import ParametrizationList

    lists = getattr(module, "parametrizations", None)
    for name, chain in lists.items() if isinstance(lists, nn.ModuleDict) else ():
        if isinstance(chain, ParametrizationList):  # an attribute of the user's may have the same name
            yield name, _Chain(module, name, chain)


# ---------------------------------------------------------------------- of a module and of a whole model
def computed(module: torch.nn.Module, attribute: str, path: str = "") -> Parametrized | None:
    """How a module computes one of its tensors; None where it is a plain one.

    Args:
        module: whose attribute it is.
        attribute: its name.
        path: qualified path of the module, for the name of the tensor.
    """
    found = (way for name, way in _ways(module) if name == attribute)
    way = next(found, None)
    return None if way is None else Parametrized(join(path, attribute), module, attribute, way)


def _ways(module: Any) -> Iterator[tuple[str, _Way]]:
    yield from _chained(module)
    yield from _hooked(module)


def parametrized_tensors(model: torch.nn.Module) -> dict[str, Parametrized]:
    """Every tensor of a model that is computed from parameters, by qualified name, each once.

    Example:
        >>> import torch
        >>> from torch.nn.utils.parametrizations import weight_norm
        >>> parametrized_tensors(weight_norm(torch.nn.Linear(2, 3)))["weight"].parts
        ('parametrizations.weight.original1', 'parametrizations.weight.original0')
    """
    found: dict[str, Parametrized] = {}
    seen: set[int] = set()
    for path, module in named_modules(model):
        if id(module) in seen:
            continue
        seen.add(id(module))
        for attribute, way in _ways(module):
            name = join(path, attribute)
            found[name] = Parametrized(name, module, attribute, way)
    return found


def fill_parameter_(
    module: torch.nn.Module, name: str, law: Initializer, *, key: Key, layout: Layout | None = None
) -> None:
    """Write a law into a parameter of a module, through its parametrization where it has one.

    Args:
        module: owner of the parameter.
        name: its attribute, such as "weight".
        law: an initializer, or a `Draw`.
        key: the stream.
        layout: what the axes mean.

    Raises:
        FillError: the attribute is no tensor, or is computed from others in a way that cannot be inverted.

    Example:
        >>> import fanin, torch
        >>> from fanin.initializers import Uniform
        >>> linear = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3))
        >>> fill_parameter_(linear, "weight", Uniform(bound=1.0), key=fanin.key(0, "weight"))
        >>> bool((linear.weight.abs() < 1.001).all())
        True
    """
    import torch

    from fanin.tensors.fill import fill_

    behind = computed(module, name)
    current = behind.value() if behind is not None else getattr(module, name, None)
    if not isinstance(current, torch.Tensor):
        raise FillError(f"{type(module).__name__}.{name} is no tensor but {current!r}; name one of its parameters")
    if behind is not None:
        behind.check()
        fresh = torch.empty(current.shape, dtype=current.dtype, device=current.device)
        behind.write(fill_(fresh, law, key=key, layout=layout))
    elif name in module._parameters or name in module._buffers:
        fill_(current, law, key=key, layout=layout)
    else:
        raise FillError(
            f"{type(module).__name__}.{name} is computed from other tensors, so what is written there is lost at the "
            "next forward pass. Fill the parameter it is computed from."
        )
