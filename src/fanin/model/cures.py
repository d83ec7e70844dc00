"""Why a forward pass or a loss failed, as far as what was given tells, and what to give instead.

Nothing here is read from the words of an exception: each question looks at the inputs, the model, the targets.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch

from fanin.model.calling import call_arguments, forward_parameters
from fanin.model.trees import tensors_in
from fanin.text.names import clean

__all__ = ["BY_ITSELF", "are_of_wrong_kind", "cure_of_forward", "cure_of_loss", "cure_of_memory"]

BY_ITSELF = (
    "The forward must run on the inputs given: try model(*inputs) by itself. inputs is a tensor, a tuple of positional "
    "arguments or a dict of keyword arguments."
)
"""What is said where the inputs tell nothing."""
_TEXT = frozenset({"text", "texts", "sentence", "sentences", "prompt", "prompts", "string", "strings"})
_TABLES = (torch.nn.Embedding, torch.nn.EmbeddingBag)
_MANY = 10_000  # leaves of an input that are looked at


def cure_of_forward(model: Any, inputs: Any, module: Any = None) -> str:
    """What to give in place of inputs that a forward pass failed on; a general sentence where they tell nothing.

    Args:
        model: the model.
        inputs: what the caller gave.
        module: the module in which the pass failed, where that is known.

    Example:
        >>> cure_of_forward(torch.nn.Linear(2, 2), (4, 2))
        'inputs is a shape; give a tensor of that shape: torch.randn(4, 2).'
    """
    questions = (
        _without_forward(model if module is None else module),
        _shape(inputs),
        _loader(inputs),
        _text(model, inputs),
        _array(inputs),
        _layout(inputs),
        _numbers(inputs),
        _pair(model, inputs),
        _keys(model, inputs),
        _ids(module, inputs),
        _dtype(model, inputs),
        _place(model, inputs),
    )
    return next((f"{words}." for words in questions if words), BY_ITSELF)


def are_of_wrong_kind(model: Any, inputs: Any, module: Any = None) -> bool:
    """Whether inputs on which a pass failed have another dtype than the model, or ids that its table does not have.

    Example:
        >>> are_of_wrong_kind(torch.nn.Linear(2, 2), torch.zeros(1, 2, dtype=torch.long))
        True
    """
    return bool(_ids(module, inputs) or _dtype(model, inputs))


def cure_of_memory(place: str) -> str:
    """The sentence of a pass for which there was too little memory.

    Example:
        >>> cure_of_memory("")
        'not enough memory for the forward pass, which stopped in the model itself: give a smaller batch.'
    """
    return (
        f"not enough memory for the forward pass, which stopped in {place or 'the model itself'}: give a smaller batch."
    )


def cure_of_loss(output: Any, targets: Any, loss: Any = None) -> str:
    """What to look at where a loss failed; the model itself ran.

    Example:
        >>> cure_of_loss(torch.ones(2, 3), None)
        'The model itself ran, and gave shape (2, 3); try loss(output) by itself.'
        >>> cure_of_loss(torch.ones(2, 3), None, torch.nn.MSELoss())
        'This loss takes targets and none were given; give targets=...'
    """
    if targets is None and _takes_targets(loss):
        return "This loss takes targets and none were given; give targets=..."
    if words := _apart(output, targets):
        return f"{words}."
    shapes = [tuple(t.shape) for t in islice(tensors_in(output), 4)]
    words = ", ".join(map(str, shapes)) or type(output).__name__
    call = "loss(output)" if targets is None else f"loss(output, targets) with targets of {_kind(targets)}"
    return f"The model itself ran, and gave shape {words}; try {call} by itself."


def _apart(output: Any, targets: Any) -> str:
    given, held = ({t.device for t in tensors_in(tree)} for tree in (targets, output))
    if len(given) != 1 or len(held) != 1 or given == held:
        return ""
    (one,), (other,) = given, held
    return f"targets are on {one} and the output is on {other}; give targets.to({str(other)!r})"


def _takes_targets(loss: Any) -> bool:
    """Whether a loss can be called with (output, targets) and not with the output alone."""
    try:
        taken = inspect.signature(loss.forward if isinstance(loss, torch.nn.Module) else loss)
    except (TypeError, ValueError):
        return False
    return _binds(taken, 2) and not _binds(taken, 1)


def _binds(taken: inspect.Signature, count: int) -> bool:
    try:
        taken.bind(*range(count))
    except TypeError:
        return False
    return True


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    return f"type {type(value).__name__}"


# ---------------------------------------------------------------------- one question each; "" where it is not that
def _without_forward(module: Any) -> str:
    if getattr(type(module), "forward", None) is not torch.nn.Module.forward:
        return ""
    name = type(module).__name__
    listed = isinstance(module, torch.nn.ModuleList | torch.nn.ModuleDict)
    cure = "put its modules into torch.nn.Sequential, or call them in" if listed else "call its modules in"
    return f"{name} has no forward; {cure} the forward of a module of your own"


def _shape(inputs: Any) -> str:
    if isinstance(inputs, tuple) and inputs and all(type(n) is int for n in inputs):
        sizes = ", ".join(map(str, inputs))
        return f"inputs is a shape; give a tensor of that shape: torch.randn({sizes})"
    return ""


def _loader(inputs: Any) -> str:
    if isinstance(inputs, torch.utils.data.DataLoader | torch.utils.data.Dataset | Iterator):
        return (
            f"inputs is a {type(inputs).__name__}; give one batch of it: x, y = next(iter(loader)), then inputs=x and "
            "targets=y"
        )
    return ""


def _text(model: Any, inputs: Any) -> str:
    known = forward_parameters(model) or ()
    names = [p.name for p in known if p.name in _TEXT or p.annotation in (str, list[str], "str", "list[str]")]
    if names:
        return (
            f"The forward takes text ({clean(names[0])}); give it as a positional argument: inputs=(['one sentence', "
            "'another'],)"
        )
    if any(isinstance(leaf, str | bytes) for leaf in _leaves(inputs)):
        return "inputs holds text; give what forward takes, such as the ids that a tokenizer makes of it, as a tensor"
    return ""


def _array(inputs: Any) -> str:
    others = (leaf for leaf in _leaves(inputs) if not isinstance(leaf, torch.Tensor))
    found = next((leaf for leaf in others if hasattr(leaf, "__array__")), None)
    if found is None:
        return ""
    array = "frame.to_numpy()" if hasattr(found, "to_numpy") else "array"
    return (
        f"inputs holds a {type(found).__name__} of NumPy or another library; give a tensor: torch.as_tensor({array}), "
        "with .float() for numbers and .long() for ids"
    )


def _layout(inputs: Any) -> str:
    if any(t.layout != torch.strided for t in tensors_in(inputs)):
        return "inputs is a sparse tensor; give inputs.to_dense()"
    return ""


def _place(model: Any, inputs: Any) -> str:
    given = {t.device for t in tensors_in(inputs)}
    held = {p.device for p in model.parameters()}
    if len(given) != 1 or len(held) != 1 or given == held or "meta" in {d.type for d in (*given, *held)}:
        return ""  # tensors on meta have no device to be moved from: a plan reads them beside any
    (one,), (other,) = given, held
    return f"inputs is on {one} and the parameters are on {other}; give inputs.to({str(other)!r})"


def _numbers(inputs: Any) -> str:
    leaves = list(_leaves(inputs))
    if isinstance(inputs, list) and leaves and all(isinstance(leaf, int | float) for leaf in leaves):
        return "inputs is a list of numbers; give a tensor: torch.tensor(inputs)"
    return ""


def _pair(model: Any, inputs: Any) -> str:
    if not (isinstance(inputs, tuple | list) and len(inputs) == 2 and len(list(tensors_in(inputs))) == 2):
        return ""
    known = forward_parameters(model)
    many = known is None or len([p for p in known if p.kind is not p.VAR_KEYWORD]) > 1
    if many and isinstance(inputs, tuple):
        return ""
    return "inputs holds two tensors, and forward takes one; of a pair (x, y) give inputs=x and targets=y"


def _keys(model: Any, inputs: Any) -> str:
    if not isinstance(inputs, Mapping):
        return ""
    takes = ", ".join(clean(p.name) for p in forward_parameters(model) or ())
    given = f"a dict with {', '.join(clean(key) for key in inputs)}" if inputs else "an empty dict"
    args, _ = call_arguments(model, inputs)
    how = "as one argument" if args else "as keyword arguments"
    return (
        f"inputs is {given}, passed {how}, and forward takes ({takes}); name its arguments as forward does, or "
        "give the tensor of one key"
    )


def _ids(module: Any, inputs: Any) -> str:
    if not isinstance(module, _TABLES):
        return ""
    rows = module.num_embeddings
    whole = [t for t in tensors_in(inputs) if not t.is_floating_point() and t.numel() and t.device.type != "meta"]
    if not whole:
        return (
            f"The table takes whole numbers from 0 to {rows - 1}; give ids: torch.randint(0, {rows}, (8, 16)), on the "
            f"command line --input '8,16:long<{rows}'"
        )
    top, low = max(int(t.max()) for t in whole), min(int(t.min()) for t in whole)
    return f"The ids go from {low} to {top}, and the table has {rows} rows; give ids from 0 to {rows - 1}"


def _dtype(model: Any, inputs: Any) -> str:
    given = {t.dtype for t in tensors_in(inputs)}
    held = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if len(given) == 1 and len(held) == 1 and given != held:
        (one,), (other,) = given, held
        if not one.is_floating_point and any(isinstance(m, _TABLES) for m in model.modules()):
            return ""  # ids for a table: their dtype is right
        return f"inputs is {_short(one)} and the parameters are {_short(other)}; give inputs.to({other})"
    return ""


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _leaves(tree: Any, depth: int = 4) -> Iterator[Any]:
    if isinstance(tree, Mapping) and depth:
        for value in tree.values():
            yield from _leaves(value, depth - 1)
    elif isinstance(tree, tuple | list) and depth:
        for value in islice(tree, _MANY):
            yield from _leaves(value, depth - 1)
    else:
        yield tree
