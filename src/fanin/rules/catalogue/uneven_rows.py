"""P508: rows of a table at another scale than the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import ParameterRecord, RowsApart, Site
from fanin.model.operations import LOSSES
from fanin.model.roles import TOKENS
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["UnevenRows"]


class UnevenRows(Rule):
    """Rows of a table at another scale than the others.

    What it does:
        Compares the rms of the rows of every lookup table and output layer.

    Why:
        Rows for new tokens, drawn at another scale than the table they were appended to, get nearly all the weight of
        every softmax: the first loss is many times too high although nearly all rows are right.

    What is measured:
        Rows whose rms is 5 times that of the median row or more, or a fifth or less; up to a third of at least 8 rows
        of at least 8 numbers. Zero rows (padding) are left out. A warning for rows that are too large in a table
        (looked up, or added to a signal as positions are) or an output layer; a note for small ones, and for rows of
        other weights.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Embedding(120, 32), nn.Flatten(), nn.Linear(8 * 32, 10))
        >>> _ = nn.init.normal_(model[0].weight, std=0.02)
        >>> _ = nn.init.normal_(model[0].weight[110:])
        >>> ids, y = torch.randint(0, 120, (64, 8)), torch.randint(0, 10, (64,))
        >>> fanin.check(model, ids, targets=y).findings[0].message[:32]
        'rows 110 to 119 of 0.weight have'

    Fix:
        Draw the new rows as the others were, or as their mean.

    References:
        Hewitt 2021, Initializing new word embeddings for pretrained language models.
    """

    code: ClassVar[str] = "P508"
    name: ClassVar[str] = "uneven-rows"
    thresholds: ClassVar[dict[str, float]] = {"ratio": 5.0}
    source: ClassVar[str] = "Hewitt 2021, Initializing new word embeddings"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding for tables, one for other weights."""
        limit = self.limit(context, "ratio")
        by_index = {s.index: s for s in context.measurements.sites}
        found = [
            (p, p.rows_apart, _is_table(p, by_index))
            for p in context.measurements.parameters
            if p.rows_apart is not None and max(p.rows_apart.ratio, 1 / p.rows_apart.ratio) >= limit
        ]
        for table in (True, False):
            some = [(p, apart) for p, apart, is_table in found if is_table is table]
            if some:
                yield self._one(context, some, table)

    def _one(self, context: Context, some: list[tuple[ParameterRecord, RowsApart]], table: bool) -> Finding:
        worst, apart = max(some, key=lambda pair: pair[1].ratio)
        whole = apart.count == apart.last - apart.first + 1
        name = f"rows {apart.first} to {apart.last}" if whole else f"{apart.count} rows, the first {apart.first},"
        name = f"row {apart.first}" if apart.count == 1 else name
        return self.finding(
            "warning" if table and apart.ratio > 1 else "note",
            [p.path for p, _ in some],
            f"{name} of {worst.path} {'has' if apart.count == 1 else 'have'} {apart.ratio:.2g} times the rms of the "
            "other rows.",
            Fix(
                text="draw these rows as the others were, or set them to the mean of the others",
                code="weight[new] = weight[old].mean(0)",
                recommends_edit=True,
            ),
            value=apart.ratio,
            threshold=self.limit(context, "ratio"),
            unit="rms of these rows / median rms",
        )


def _is_table(parameter: ParameterRecord, by_index: dict[int, Site]) -> bool:
    site = by_index.get(parameter.reader) if parameter.reader is not None else None
    if site is None:
        return bool(parameter.added_to) or parameter.role in TOKENS
    return site.op in ("embedding", "embedding_bag") or site.follower == "" or site.follower in LOSSES
