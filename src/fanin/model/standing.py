"""What a model's tensors are before anything is chosen for them: empty, frozen, loaded, padded, or free to be drawn.

Everything that keeps a parameter from being drawn, or from being kept, is decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fanin.errors import ArgumentError, PlanError, did_you_mean
from fanin.model.parameters import Slot
from fanin.model.wrappers import join, named_buffers, named_modules
from fanin.tensors.values import finite, readable, why_empty
from fanin.text.paths import matches
from fanin.text.reading import shown

if TYPE_CHECKING:
    import torch

__all__ = ["Frozen", "Missing", "Standing", "lost_buffers", "standing_of", "what_stays", "zero_rows"]

Frozen = Literal["keep", "draw"]


class _Loaded(Protocol):
    """What ``load_state_dict(..., strict=False)`` gives."""

    missing_keys: list[str]


Missing = Collection[str] | Mapping[str, Any] | _Loaded
"""Globs of names, the loading info of transformers, or what ``load_state_dict`` gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of the parameters before a recipe is asked, by first qualified name.

    Attributes:
        empty: why there is nothing to keep: "on the meta device", "holds NaN", "holds infinite numbers".
        keep: why it stays as it is: frozen, loaded, of a dtype that is never drawn, or it holds values already.
        frozen: those of `keep` that are frozen or loaded, which ``frozen="draw"`` draws.
        uninitialised: where only uninitialised parameters are planned: why each of them counts as one; else None.
    """

    empty: Mapping[str, str]
    keep: Mapping[str, str]
    frozen: tuple[str, ...] = ()
    uninitialised: Mapping[str, str] | None = None


def standing_of(
    model: torch.nn.Module,
    slots: Mapping[str, Slot],
    *,
    frozen: Frozen = "keep",
    only_uninitialised: bool = False,
    missing: Missing = (),
) -> Standing:
    """What the parameters of a model are.

    Args:
        model: the model.
        slots: its parameters.
        frozen: "keep" what is frozen or loaded, or "draw" it like all else.
        only_uninitialised: keep everything that holds values.
        missing: what counts as uninitialised: globs on qualified names of parameters, what ``load_state_dict`` gave, or
            the loading info of transformers.

    Raises:
        ArgumentError: `frozen` is neither "keep" nor "draw".
        PlanError: a name in `missing` that matches no parameter.
    """
    if frozen not in ("keep", "draw"):
        raise ArgumentError(f"frozen must be 'keep' or 'draw'; got {frozen!r}")
    empty = _with_wholes(slots, {n: why for n, s in slots.items() if (why := why_empty(s.tensor))})
    named = _with_wholes(slots, _named(model, slots, missing))
    if only_uninitialised and not missing:
        named |= _with_wholes(slots, _not_loaded(model, slots))
    free = {*empty, *named}
    held = {n: why for n, s in slots.items() if n not in free and (why := _not_drawn(s.tensor))}
    stays = {}
    if frozen == "keep":
        found = _with_wholes(slots, dict(_frozen(model, slots)))
        stays = {n: why for n, why in found.items() if n not in free and n not in held}
    fresh = None
    if only_uninitialised or missing:
        fresh = {n: named.get(n) or empty[n] for n in slots if n in free}
        held = {n: "it holds values already" for n in slots if n not in free}
        stays = {}
    return Standing(empty=empty, keep={**stays, **held}, frozen=tuple(stays), uninitialised=fresh)


def what_stays(model: torch.nn.Module, slots: Mapping[str, Slot]) -> Mapping[str, str]:
    """`Standing.keep` alone; the numbers of a model are read only where something in it may not be drawn.

    Example:
        >>> import torch
        >>> from fanin.model.parameters import slots_of
        >>> model = torch.nn.Linear(2, 2).requires_grad_(False)
        >>> what_stays(model, slots_of(model))["weight"]
        'it is frozen (requires_grad=False)'
    """
    free = not any(_not_drawn(s.tensor) for s in slots.values()) and next(_frozen(model, slots), None) is None
    return {} if free else standing_of(model, slots).keep


def _with_wholes(slots: Mapping[str, Slot], found: Mapping[str, str]) -> dict[str, str]:
    """What was found, and of a part that is set with others also under the part that holds the values.

    A parametrized tensor is written whole or not at all.
    """
    wholes = {
        slots[n].holder: f"its part {n}: {why}"
        for n, why in found.items()
        if slots[n].is_set_with_holder and slots[n].holder not in found
    }
    return {n: {**found, **wholes}[n] for n in slots if n in found or n in wholes}


def _named(model: torch.nn.Module, slots: Mapping[str, Slot], missing: Missing) -> dict[str, str]:
    patterns = _patterns(missing)
    names = [n for s in slots.values() for n in s.names]
    buffers = [n for n, _ in named_buffers(model)] if patterns else []
    for pattern in patterns:
        if not any(matches(n, pattern) for n in (*names, *buffers)):
            raise PlanError(f"{pattern!r} in missing matches no parameter; {did_you_mean(pattern, names[:2000])[:300]}")
    return {
        first: "named as missing"
        for first, slot in slots.items()
        if any(matches(n, p) for n in slot.names for p in patterns)
    }


def _patterns(missing: Missing) -> list[str]:
    """The names in what `load_state_dict` or transformers gave, or in a list.

    A tensor of another shape than the checkpoint's was not loaded either: transformers lists it apart, with the shapes.
    """
    if isinstance(missing, str):
        raise ArgumentError(f"missing must be a list of names; got one text: write missing=[{missing!r}]")
    listed: list[Any]
    if isinstance(missing, Mapping):
        listed = [*missing.get("missing_keys", ()), *missing.get("mismatched_keys", ())]
    elif isinstance(missing, Collection) and not hasattr(missing, "missing_keys"):
        listed = list(missing)
    elif hasattr(missing, "missing_keys"):
        listed = list(missing.missing_keys)
    else:
        raise ArgumentError(
            f"missing is a list of names, or what load_state_dict(..., strict=False) returned; got {shown(missing)}"
        )
    return [name if isinstance(name, str) else str(name[0]) for name in listed]


def _not_loaded(model: torch.nn.Module, slots: Mapping[str, Slot]) -> dict[str, str]:
    """What transformers did not find in a checkpoint, by the mark that it sets on what it loaded.

    It has given these parameters values of its own, so the values do not show it. Adapters of PEFT are loaded in
    another way and have no mark: they are left out. Where no parameter has the mark nothing is known.
    """
    marked = [name for name, slot in slots.items() if getattr(slot.tensor, "_is_hf_initialized", False)]
    if not marked:
        return {}
    adapters = _adapted(model)[1]
    return {
        name: "transformers did not find it in the checkpoint"
        for name, slot in slots.items()
        if name not in marked and id(slot.tensor) not in adapters
    }


def _not_drawn(tensor: torch.Tensor) -> str:
    if tensor.device.type != "meta" and not readable(tensor) and type(tensor).__name__ != "FakeTensor":
        return f"its numbers are kept in a way of their own ({type(tensor).__name__}, {tensor.layout}), never drawn"
    if tensor.is_floating_point() or tensor.is_complex():
        return ""
    return f"its dtype {str(tensor.dtype).removeprefix('torch.')} is never drawn"


# ---------------------------------------------------------------------- frozen and loaded
def _frozen(model: torch.nn.Module, slots: Mapping[str, Slot]) -> Iterator[tuple[str, str]]:
    base = _adapted(model)[0]
    for name, slot in slots.items():
        if not slot.tensor.requires_grad:
            yield name, "it is frozen (requires_grad=False)"
        elif getattr(slot.tensor, "_is_hf_initialized", False):
            yield name, "transformers loaded it from a checkpoint"
        elif id(slot.tensor) in base:
            yield name, "it belongs to the base model under PEFT's adapters"


_PEFT_MODEL = ("peft.peft_model", "PeftModel")
_PEFT_LAYER = ("peft.tuners.tuners_utils", "BaseTunerLayer")
_PEFT_SAVED = ("peft.utils.other", "AuxiliaryTrainingWrapper")


def _is(module: Any, kind: tuple[str, str]) -> bool:
    """Whether a module is of a class of a library, without importing the library."""
    return any((k.__module__, k.__qualname__) == kind for k in type(module).__mro__)


def _adapted(model: torch.nn.Module) -> tuple[set[int], set[int]]:
    """Parameters of the models that PEFT adapts, all but those of the adapters; and those of the adapters."""
    base: set[int] = set()
    added: set[int] = set()
    for _, module in named_modules(model):
        if _is(module, _PEFT_MODEL):
            base |= {id(p) for p in module.get_submodule("base_model").parameters()}
        elif _is(module, _PEFT_LAYER):
            added |= set(_adapters(module))
        elif _is(module, _PEFT_SAVED):
            original: Any = module._modules.get("original_module")
            kept = {id(p) for p in original.parameters()} if original is not None else set()
            added |= {id(p) for p in module.parameters()} - kept
    return base - added, added


def _adapters(layer: Any) -> Iterator[int]:
    for name in getattr(layer, "adapter_layer_names", ()):
        part: Any = getattr(layer, name, None)
        if hasattr(part, "parameters"):
            yield from (id(p) for p in part.parameters())


# ---------------------------------------------------------------------- padding
def zero_rows(model: torch.nn.Module, slots: Mapping[str, Slot]) -> dict[str, tuple[int, ...]]:
    """First name of a table -> its padding rows, which an ``Embedding`` or ``EmbeddingBag`` reads as nothing.

    Example:
        >>> import torch
        >>> from fanin.model.parameters import slots_of
        >>> model = torch.nn.Sequential(torch.nn.Embedding(10, 4, padding_idx=-1))
        >>> zero_rows(model, slots_of(model))
        {'0.weight': (9,)}
    """
    from torch import nn

    tables = {n: s.name for s in slots.values() if s.holds_values for n in (*s.names, s.through)}
    found: dict[str, set[int]] = {}
    for path, module in named_modules(model):
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.padding_idx is not None:
            first = tables.get(join(path, "weight"))
            if first is not None:
                found.setdefault(first, set()).add(int(module.padding_idx))
    return {name: tuple(sorted(rows)) for name, rows in found.items()}


# ---------------------------------------------------------------------- buffers
def lost_buffers(model: torch.nn.Module) -> dict[str, str]:
    """Qualified name of each buffer that holds no usable numbers -> what is wrong with it.

    An infinity of one sign beside finite numbers is a mask, and the start of a running minimum or maximum is infinite:
    those are left out.

    Example:
        >>> import torch
        >>> layer = torch.nn.BatchNorm1d(2)
        >>> layer.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        >>> _ = layer.running_mean.fill_(float("nan"))
        >>> lost_buffers(layer)
        {'running_mean': 'holds NaN'}
    """
    observers = {id(b) for _, m in named_modules(model) if _is(m, _OBSERVER) for b in m.buffers(recurse=False)}
    found = {}
    for name, buffer in named_buffers(model):
        if id(buffer) not in observers and buffer.device.type != "meta" and (why := _lost(buffer)):
            found[name] = why
    return found


_OBSERVER = ("torch.ao.quantization.observer", "ObserverBase")


def _lost(buffer: torch.Tensor) -> str:
    if finite(buffer):
        return ""
    if bool(buffer.isnan().any()):
        return "holds NaN"
    if buffer.is_complex():
        return "holds infinite numbers"
    if bool(buffer.isposinf().any()):
        return "holds infinity"
    return "" if bool(buffer.isfinite().any()) else "holds nothing but infinity"
