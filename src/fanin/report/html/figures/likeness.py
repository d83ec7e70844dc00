"""Likeness: cosines between samples, spread of attention logits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from fanin.measure.record import Site
from fanin.report.html.axes import DepthAxis
from fanin.report.html.charts.cells import Rows, column_map, shade, shade_key
from fanin.report.html.charts.matrices import Matrix, cosine_matrices, mean_note, signed_scale
from fanin.report.html.figures.common import Figure, axis_of, label, some
from fanin.text.numbers import count, figures
from fanin.text.spacing import evenly

__all__ = ["attention_heads", "sample_cosines"]


def sample_cosines(sites: Sequence[Site]) -> Figure | None:
    """Cosine matrices of a first, a middle and a last layer."""
    usable = [site for site in sites if site.sample_cosine and site.sample_cosine.matrix]
    if not usable:
        return None
    picked = [usable[place] for place in evenly(len(usable), 3)]
    matrices = [
        Matrix(label=label(site, 40), note=mean_note(cosine.one_minus_mean), values=cosine.matrix)
        for site in picked
        if (cosine := site.sample_cosine)
    ]
    return Figure(
        id="samples",
        caption="Likeness of samples at the first, a middle and the last layer",
        drawing=cosine_matrices(
            matrices,
            id_="samples",
            title="Cosines between samples",
            description=" ".join(f"{matrix.label}: {matrix.note}." for matrix in matrices),
        ),
        key=signed_scale(),
        rows=(
            ("layer", "samples", "1 − mean cosine", "share of energy between samples"),
            *(_cosine_row(site) for site in some(usable)),
        ),
    )


def _cosine_row(site: Site) -> tuple[str, ...]:
    cosine = site.sample_cosine
    if cosine is None:
        return (label(site), "", "", "")
    return label(site), count(cosine.num_samples), figures(cosine.one_minus_mean), figures(cosine.between_share)


def attention_heads(sites: Sequence[Site], axis: DepthAxis) -> Figure | None:
    """s^2 / ln T of every head."""
    usable = [site for site in sites if site.attention and site.attention.condensation]
    if not usable:
        return None
    heads = [site.attention.condensation for site in usable if site.attention]
    num = max(len(values) for values in heads)
    largest = max(_finite(heads), default=0.0)
    labels = tuple((i + 0.5, str(i)) for i in evenly(num, 8))
    return Figure(
        id="attention",
        caption=f"s² / ln T of each head: full shade at 2, the largest here is {figures(largest)}",
        drawing=column_map(
            {"heat": [[shade(value / 2) for value in values] for values in heads]},
            axis_of(usable, axis, sites),
            Rows(num=num, labels=labels, title="head"),
            id_="attention",
            title="Spread of the attention logits",
            description=f"Largest value {figures(largest)}; 1 is a warning, 2 an error.",
            height=min(max(24.0 * num, 60.0), 220.0),
        ),
        key=shade_key("heat", "0: looks everywhere", "2 and more: at one token"),
        rows=(
            ("layer", "keys T", "largest s² / ln T", "smallest entropy / ln T"),
            *(_attention_row(site) for site in some(usable)),
        ),
    )


def _attention_row(site: Site) -> tuple[str, ...]:
    attention = site.attention
    if attention is None:
        return (label(site), "", "", "")
    extremes = (max(attention.condensation, default=None), min(attention.entropy, default=None))
    return label(site), count(attention.num_keys), *map(figures, extremes)


def _finite(rows: Iterable[Sequence[float]]) -> list[float]:
    return [value for row in rows for value in row if math.isfinite(value)]
