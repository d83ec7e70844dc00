"""Rows of tables that a lookup reads as padding, and that no training moves."""

from __future__ import annotations

from fanin.graph.ir import Graph

__all__ = ["padding_rows"]

_INDEX = {"embedding": 2, "embedding_bag": 8}  # place of padding_idx among the arguments of torch's operations


def padding_rows(graph: Graph) -> dict[str, tuple[int, ...]]:
    """First name of a parameter -> the rows of it that a lookup is told to be padding.

    Also ``torch.nn.functional.embedding`` on a parameter of the user's own is seen here. In torch.embedding any
    negative index means none; in torch.embedding_bag it counts from the end.

    Example:
        >>> import torch
        >>> from fanin.graph.recording.capture import capture
        >>> table = torch.nn.Embedding(10, 4, padding_idx=-1)
        >>> padding_rows(capture(table, torch.tensor([[1, 2]])))
        {'weight': (9,)}
    """
    found: dict[str, set[int]] = {}
    for op in graph.ops:
        table = op.ref(0, "weight") if op.name in _INDEX else None
        parameter = None if table is None else graph.parameter_of(table)
        row = op.arg(_INDEX[op.name], "padding_idx") if parameter is not None else None
        if parameter is None or not isinstance(row, int) or (row < 0 and op.name == "embedding"):
            continue
        found.setdefault(parameter.name, set()).add(row % parameter.shape[0])
    return {name: tuple(sorted(rows)) for name, rows in found.items()}
