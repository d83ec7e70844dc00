"""How a library stores a weight, and the same weight drawn as torch stores it: one network, not only the same bits.

Element i of a Flax kernel (in, out) is another connection than element i of an ``nn.Linear`` weight (out, in). A weight
that is drawn in torch's layout and then moved connects the same units in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fanin.errors import LayoutError
from fanin.layout import Layout

__all__ = ["Storage", "Stored", "as_torch", "fitted", "layouts_of", "moved", "own_layout"]

Stored = Literal["own", "torch"]
"""In whose layout a weight is drawn: that of its library, or torch's."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A weight as torch stores it.

    Attributes:
        shape: in torch.
        layout: in torch.
    """

    shape: tuple[int, ...]
    layout: Layout


def layouts_of(tree: Any) -> dict[int, Layout]:
    """Layouts of leaves that their module says, by position among the leaves: Equinox stores as torch does."""
    import jax

    found: dict[int, Layout] = {}
    for n, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(tree)[0]):
        holder = _holder(tree, path)
        shape = tuple(getattr(leaf, "shape", ()))
        if len(shape) >= 2 and any(k.__module__.partition(".")[0] == "equinox" for k in type(holder).__mro__):
            found[n] = _of_equinox(holder, shape)
    return found


def _holder(tree: Any, path: Sequence[Any]) -> Any:
    """The node of a tree that holds a leaf as an attribute."""
    here = tree
    for step in path[:-1]:
        name, key, index = getattr(step, "name", None), getattr(step, "key", None), getattr(step, "idx", None)
        here = getattr(here, name) if name is not None else here[key if key is not None else index]
    return here


def _of_equinox(holder: Any, shape: tuple[int, ...]) -> Layout:
    kind, taps = type(holder).__name__, tuple(range(2, len(shape)))
    if kind == "Embedding":
        return Layout.embedding()
    if math.prod(shape[1:]) == 1:  # the bias of a convolution
        return Layout(out_axes=(0,), in_axes=(), tap_axes=tuple(range(1, len(shape))))
    groups = int(getattr(holder, "groups", 1)) if taps else 1
    if kind.startswith("ConvTranspose"):
        return Layout(tap_axes=taps, groups=groups, stride=tuple(holder.stride), transposed=True)
    if kind.startswith("Conv"):
        return Layout.conv(len(taps), groups=groups, stride=tuple(holder.stride))
    parts = {"LSTMCell": 4, "GRUCell": 3}.get(kind, 1)
    return Layout(tap_axes=taps, parts=parts)


def own_layout(shape: tuple[int, ...]) -> Layout:
    """What the axes of a leaf mean in Flax, Haiku and Keras: (*taps, in, out)."""
    return Layout.channels_last(len(shape)) if len(shape) >= 2 else Layout.vector()


# ---------------------------------------------------------------------- drawn as torch stores it
def as_torch(shape: tuple[int, ...], layout: Layout) -> Storage:
    """The shape and the layout that a weight has in torch: (batch..., out, in, *taps); tables and vectors as they are.

    Args:
        shape: of the library's array.
        layout: what its axes mean.

    Raises:
        LayoutError: a transposed convolution, or inputs that are multiplied, whose torch storage differs by more than
            the order of axes.

    Example:
        >>> as_torch((3, 3, 8, 16), Layout.channels_last(4)).shape
        (16, 8, 3, 3)
        >>> as_torch((64, 4, 16), Layout.heads()).shape
        (64, 64)
    """
    if layout.lookup or not layout.in_axes:
        return Storage(shape, layout)
    if layout.transposed or layout.multiplied or layout.view:
        raise LayoutError(
            f"a weight of shape {shape} with the layout {layout} is stored by torch in more than another order of "
            "axes; give this leaf its values yourself (stored_as='own' draws it in its own layout)"
        )
    batch, taps = [shape[a] for a in layout.batch_axes], [shape[a] for a in layout.tap_axes]
    out, inputs = (math.prod(shape[a] for a in axes) for axes in (layout.out_axes, layout.in_axes))
    if layout.groups_on == "in" and layout.groups > 1:
        out, inputs = out * layout.groups, inputs // layout.groups
    rank = len(batch)
    torch_layout = replace(
        layout,
        batch_axes=tuple(range(rank)),
        out_axes=(rank,),
        in_axes=(rank + 1,),
        tap_axes=tuple(range(rank + 2, rank + 2 + len(taps))),
        groups_on="out",
    )
    return Storage((*batch, out, inputs, *taps), torch_layout)


def moved(values: Any, shape: tuple[int, ...], layout: Layout) -> Any:
    """Values as torch stores them -> the same connections as a library stores them.

    Args:
        values: a JAX or NumPy array in torch's layout.
        shape: of the library's array.
        layout: what the axes of that mean.

    Example:
        >>> import numpy as np
        >>> moved(np.arange(6).reshape(2, 3), (3, 2), Layout.linear_in_out()).tolist()
        [[0, 3], [1, 4], [2, 5]]
    """
    if layout.lookup or not layout.in_axes:
        return values.reshape(shape)
    out_axes, in_axes = list(layout.out_axes), list(layout.in_axes)
    if layout.groups_on == "in" and layout.groups > 1:  # torch's output channels are (group, multiplier)
        out_axes, in_axes = [*in_axes, *out_axes], []
    order = [*layout.batch_axes, *out_axes, *in_axes, *layout.tap_axes]
    spread = values.reshape([shape[a] for a in order])
    return spread.transpose([order.index(a) for a in range(len(shape))])


def fitted(torch_shape: tuple[int, ...], torch_layout: Layout | None, shape: tuple[int, ...], own: Layout) -> Layout:
    """What the axes of a leaf mean that gets a weight of a torch model: (*taps, *in, *out) of the same sizes.

    Args:
        torch_shape: of the weight in torch.
        torch_layout: what its axes mean there.
        shape: of the leaf.
        own: what its library's axes mean.

    Raises:
        LayoutError: the leaf does not hold as many units.
    """
    if math.prod(torch_shape) != math.prod(shape):
        raise LayoutError(f"holds {math.prod(shape)} numbers, and the weight of the plan {math.prod(torch_shape)}")
    if torch_layout is None or torch_layout.lookup or not torch_layout.in_axes:
        return Layout.embedding() if torch_layout is not None and torch_layout.lookup else _flat(shape)
    if shape == torch_shape and own.out_axes == torch_layout.out_axes:
        return torch_layout
    taps = len(torch_layout.tap_axes)
    inputs = math.prod(torch_shape[a] for a in torch_layout.in_axes)
    for split in range(taps + 1, len(shape)):
        if math.prod(shape[taps:split]) == inputs:
            return replace(
                torch_layout,
                tap_axes=tuple(range(taps)),
                in_axes=tuple(range(taps, split)),
                out_axes=tuple(range(split, len(shape))),
                parts=1,
            )
    raise LayoutError(f"shape {shape} does not hold a map from {inputs} units")


def _flat(shape: tuple[int, ...]) -> Layout:
    return Layout(out_axes=tuple(range(len(shape))), in_axes=())
