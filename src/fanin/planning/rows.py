"""The table of a plan as data: parameters that repeat over blocks and start from the same law on one row."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.planning.assignment import Assignment
from fanin.planning.data import PlanData
from fanin.text.numbers import figures
from fanin.text.paths import group_paths
from fanin.text.roles import role_words

__all__ = ["PlanRow", "law_words", "rows", "start_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One line of the table: parameters that repeat over blocks and start from the same law.

    Attributes:
        pattern: "blocks.{0..11}.mlp.fc1.weight".
        members: the names behind it.
        shape: their shape.
        role: what they do.
        law: the initializer in words; "kept" or "derived" where nothing is drawn.
        std: standard deviation of the realised law.
        reason: one sentence.
    """

    pattern: str
    members: tuple[str, ...]
    shape: tuple[int, ...]
    role: str
    law: str
    std: float | None
    reason: str


def rows(plan: PlanData) -> tuple[PlanRow, ...]:
    """The plan's table as data, in the order of the model."""
    groups = group_paths(plan.assignments, key=lambda n: _same_line(plan.assignments[n]))
    made = []
    for group in groups:
        a = plan.assignments[group.members[0]]
        made.append(
            PlanRow(
                pattern=group.pattern,
                members=group.members,
                shape=a.shape,
                role=role_words(a.role),
                law=law_words(a),
                std=a.std,
                reason=a.reason,
            )
        )
    return tuple(made)


def _same_line(a: Assignment) -> tuple[object, ...]:
    std = None if a.std is None else f"{a.std:.3g}"
    return (a.shape, a.role, a.rule, a.action, type(a.initializer).__name__, std)


def law_words(a: Assignment) -> str:
    """The initializer in a few words.

    Example:
        >>> from fanin.initializers import Normal
        >>> from fanin.planning import Assignment
        >>> law_words(Assignment(name="w", role="weight", shape=(2, 2), dtype="float32", initializer=Normal(std=0.02)))
        'Normal'
    """
    if a.action == "derive":
        return "derived"
    law = a.initializer
    factor = f" × {a.scale:.3g}" if a.is_scaled else ""
    if law is None:
        return "kept" + factor
    value = getattr(law, "value", None)
    words = type(law).__name__ if value is None else f"{type(law).__name__}({value:.4g})"
    return f"{words}{factor} (kept)" if a.action == "keep" else words + factor


def start_words(a: Assignment) -> str:
    """The initializer with its std, for a picture.

    Example:
        >>> from fanin.initializers import Normal, Zeros
        >>> from fanin.planning import Assignment
        >>> one = Assignment(name="w", role="weight", shape=(2,), dtype="half", initializer=Normal(std=0.02), std=0.02)
        >>> two = Assignment(name="b", role="bias", shape=(2,), dtype="float32", initializer=Zeros(), std=0.0)
        >>> start_words(one), start_words(two)
        ('Normal std 0.0200', 'Zeros')
    """
    fixed = not a.std or getattr(a.initializer, "value", None) is not None
    return law_words(a) if fixed else f"{law_words(a)} std {figures(a.std)}"
