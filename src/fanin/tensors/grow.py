"""`fanin.grow_`: start the new rows of a table that has grown, and leave the old ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fanin.errors import ArgumentError, FillError, ShapeError
from fanin.streams.boxes import Box
from fanin.streams.keys import key
from fanin.tensors.fill import Fillable, fill_
from fanin.tensors.holdings import Piece, Range, holdings
from fanin.tensors.shards import is_sharded, local_part
from fanin.text.reading import shown

if TYPE_CHECKING:
    import torch

    from fanin.layout import Layout

__all__ = ["grow_"]


def grow_(
    tensor: torch.Tensor,
    old_rows: int,
    law: Fillable,
    *,
    name: str,
    seed: int = 0,
    layout: Layout | None = None,
) -> torch.Tensor:
    """Draw the rows from `old_rows` on, in place: new tokens of an embedding, new classes of a head.

    A new row holds the numbers that it would have in a table that had this size from the start, under the same seed and
    name. So rows do not depend on how often, or by how much, the table grew.

    transformers' ``resize_token_embeddings`` draws new rows around the mean of the old ones with a variance of 1e-9 of
    theirs, so that new tokens are practically equal to each other at the start (measured with transformers 5.23: a std
    of .00065 where the table has .02).

    Args:
        tensor: the grown table, of shape (rows, ...); a DTensor writes what this process holds.
        old_rows: how many rows stay as they are, 0 <= old_rows <= rows.
        law: of the whole table; elementwise, such as ``Normal(std=0.02)``.
        name: of the parameter, as in the plan.
        seed: as in the plan.
        layout: what the axes mean, for laws that depend on fans.

    Returns:
        The tensor.

    Raises:
        ArgumentError: `old_rows` is no count of rows of this tensor.
        ShapeError: the tensor has no rows.
        FillError: a law whose entries depend on each other (orthogonal): the old rows would have to change; or a
            parameter that ZeRO-3 has partitioned: grow it inside ``deepspeed.zero.GatheredParameters``.

    Example:
        >>> import torch
        >>> from fanin.initializers import Normal
        >>> table = torch.nn.Embedding(5, 3)
        >>> old = table.weight.detach().clone()[:4]
        >>> _ = grow_(table.weight, 4, Normal(std=0.02), name="embed.weight")
        >>> torch.equal(table.weight[:4], old), bool(table.weight[4].std() < 0.1)
        (True, True)
    """
    if not hasattr(tensor, "dim"):
        raise ArgumentError(f"tensor is of type {type(tensor).__name__}; give a tensor or a parameter of torch")
    if not hasattr(law, "draw"):
        raise ArgumentError(f"law is an initializer, such as Normal(std=0.02); got {shown(law)}")
    if not tensor.dim():
        raise ShapeError("the tensor is a single number and has no rows; give a table of shape (rows, ...)")
    if isinstance(old_rows, bool) or not isinstance(old_rows, int) or not 0 <= old_rows <= tensor.shape[0]:
        raise ArgumentError(f"old_rows must be a number of rows between 0 and {tensor.shape[0]}; got {old_rows!r}")
    law.check(tuple(tensor.shape), layout)
    if law.draw(tuple(tensor.shape), layout) is None:
        raise FillError(
            f"the entries of {law!r} depend on each other, so new rows would change the old ones. Give an elementwise "
            "law, such as Normal(std=0.02)."
        )
    part = holdings(tensor)
    if isinstance(part, Range):
        raise FillError(
            "ZeRO-3 has partitioned the tensor. Grow it inside "
            "deepspeed.zero.GatheredParameters(tensor, modifier_rank=0)."
        )
    local, whole = local_part(tensor).detach(), tuple(tensor.shape)
    for piece in _from_row(old_rows, part.pieces(), whole):
        box = piece.box
        cut = [slice(start, start + n) for start, n in zip(_origin(box, whole), box.shape, strict=True)]
        fill_(local[piece.here], law, key=key(seed, name), layout=layout, shape=whole, box=cut)
    if is_sharded(tensor):
        import torch

        torch.autograd.graph.increment_version(tensor)
    return tensor


def _from_row(row: int, pieces: Iterator[Piece], whole: tuple[int, ...]) -> Iterator[Piece]:
    """What of the pieces lies in rows `row` and later."""
    for piece in pieces:
        skip = max(0, row - _origin(piece.box, whole)[0])
        rows = piece.box.shape[0] - skip
        if rows > 0:
            first = piece.here[0]
            here = (slice(first.start + skip, first.stop), *piece.here[1:])
            start = piece.box.start + skip * piece.box.strides[0]
            yield Piece(here, Box((rows, *piece.box.shape[1:]), piece.box.strides, start))


def _origin(box: Box, whole: tuple[int, ...]) -> list[int]:
    """Index of the box's first element along each axis of the whole."""
    rest, found = box.start, []
    for n in reversed(whole):
        rest, here = divmod(rest, n)
        found.append(here)
    return found[::-1]
