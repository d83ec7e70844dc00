"""Plans, derivations and differences as plain text: the same through a pipe as in a terminal, 100 columns wide.

`rows` is the table as data, for whoever draws it better.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.text.paths import group_paths

if TYPE_CHECKING:
    from fanin.planning.assignment import Assignment
    from fanin.planning.data import PlanData
    from fanin.planning.diff import PlanDiff

__all__ = ["PlanRow", "diff_text", "explain_text", "plan_text", "rows"]

WIDTH = 100


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
                role=a.role,
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
    if law is None:
        return "kept"
    value = getattr(law, "value", None)
    words = type(law).__name__ if value is None else f"{type(law).__name__}({value:.4g})"
    return f"{words} (kept)" if a.action == "keep" else words


def plan_text(plan: PlanData, width: int = WIDTH) -> str:
    """The plan as a table."""
    table = rows(plan)
    total = sum(a.numel for a in plan.assignments.values())
    head = f"{plan.model}: recipe {plan.recipe}, seed {plan.seed}, {len(plan)} parameters, {_count(total)} numbers"
    cells = [("parameter", "shape", "role", "initializer", "std")]
    cells += [
        (visible(r.pattern), "×".join(map(str, r.shape)) or "scalar", r.role, r.law, number(r.std)) for r in table
    ]
    lines = [head, "", *_columns(cells, width)]
    if plan.warnings:
        lines += ["", *(line for w in plan.warnings for line in _wrapped(f"warning: {w}", width))]
    return "\n".join(lines)


def explain_text(plan: PlanData, a: Assignment, width: int = WIDTH) -> str:
    """The derivation of one parameter."""
    tied = f" (tied to {', '.join(map(visible, a.aliases))})" if a.aliases else ""
    lines = [f"{visible(a.name)}{tied}", f"  {a.role}, shape {'×'.join(map(str, a.shape)) or 'scalar'}, {a.dtype}", ""]
    lines += _wrapped(a.reason, width, "  ")
    if a.steps:
        lines.append("")
        lines += _derivation(a.steps, width)
    lines += ["", f"  law: {_law_line(a)}"]
    if a.action == "draw":
        lines.append(f"  stream: seed {plan.seed}, name {visible(a.key)!r}")
    if a.through:
        lines += _wrapped(f"written through the parametrization of {visible(a.through)}", width, "  ")
    known = [number(r) for r in a.predicted_rms if r is not None]
    if known:
        lines.append(f"  predicted rms of its output: {', '.join(known)}")
    lines += [line for w in a.warnings for line in _wrapped(f"warning: {w}", width, "  ")]
    return "\n".join(lines)


def diff_text(diff: PlanDiff, width: int = WIDTH) -> str:
    """The differences, parameters that differ in the same way on one line."""
    if not diff.differences:
        return f"no difference in {diff.compared} parameters between {diff.left} and {diff.right}"
    lines = [f"{diff.left}  ->  {diff.right}", ""]
    by_content: dict[tuple[str, str, str], list[str]] = {}
    for d in diff.differences:
        by_content.setdefault((d.field, _value(d.left), _value(d.right)), []).append(d.name)
    cells = [("parameter", "field", "left", "right")]
    for (name, left, right), members in by_content.items():
        for group in group_paths(members):
            cells.append((visible(group.pattern) or "(plan)", name or "present", left, right))
    changed = len({d.name for d in diff.differences if d.name})
    return "\n".join([*lines, *_columns(cells, width), "", f"{changed} of {diff.compared} parameters differ"])


def number(value: float | None) -> str:
    """A number in at most eight characters, "" where there is none.

    Example:
        >>> number(0.0040824829), number(1.0), number(None)
        ('0.00408', '1', '')
    """
    return "" if value is None else f"{value:.3g}"


def visible(text: str) -> str:
    r"""The text with characters that do not show as themselves escaped.

    Example:
        >>> print(visible("fc\x1b[31m"))
        fc\x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _derivation(steps: Iterable[Any], width: int) -> list[str]:
    steps = list(steps)
    names = [visible(s.quantity) for s in steps]
    values = [f"{s.value:.6g}" if isinstance(s.value, float) else visible(str(s.value)) for s in steps]
    left, mid = max(map(len, names)), min(max(map(len, values)), 24)
    lines = []
    for name, value, step in zip(names, values, steps, strict=True):
        text = visible(step.formula) + (f"  [{visible(step.source)}]" if step.source else "")
        head = f"  {name:<{left}} = {value:<{mid}}  "
        body = textwrap.wrap(text, max(width - len(head), 30)) or [""]
        lines.append((head + body[0]).rstrip())
        lines += [" " * len(head) + line for line in body[1:]]
    return lines


def _law_line(a: Assignment) -> str:
    if a.action == "derive":
        return "none of its own: it follows from the parametrized tensor"
    if a.initializer is None:
        return "none: the tensor is kept as it is"
    return f"{a.initializer}" + ("  (read off the tensor, which is kept)" if a.action == "keep" else "")


def _columns(cells: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Left-aligned columns; the first one gives way when the line is too long."""
    size = [max(len(c[i]) for c in cells) for i in range(len(cells[0]))]
    for i in reversed(range(1, len(size))):
        size[i] = min(size[i], 28)
    room = width - sum(size[1:]) - 2 * (len(size) - 1)
    size[0] = min(size[0], max(room, 20))
    lines = []
    for row in cells:
        cut = (_fit(text, n) for text, n in zip(row, size, strict=True))
        lines.append("  ".join(f"{text:<{n}}" for text, n in zip(cut, size, strict=True)).rstrip())
    lines.insert(1, "  ".join("-" * n for n in size))
    return lines


def _fit(text: str, size: int) -> str:
    if len(text) <= size:
        return text
    head = (size - 1) // 3
    return text[:head] + "…" + text[len(text) - (size - 1 - head) :]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(visible(text), width, initial_indent=indent, subsequent_indent=indent + "  ")


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))


def _count(n: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return str(n)
