"""The derivation of one parameter's law, number by number, as plain text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from fanin.planning.assignment import Assignment
from fanin.planning.data import PlanData
from fanin.recipes.auto.evidence import EVIDENCE as MEASURED
from fanin.recipes.step import EVIDENCE, Step
from fanin.text.columns import Column, columns
from fanin.text.console import WIDTH, plain_text
from fanin.text.names import clean
from fanin.text.numbers import big, sizes
from fanin.text.roles import role_words

__all__ = ["explain_text"]


def explain_text(plan: PlanData, a: Assignment, width: int = WIDTH) -> str:
    """The derivation of one parameter."""
    tied = f" (tied to {', '.join(map(clean, a.aliases))})" if a.aliases else ""
    lines = [f"{clean(a.name)}{tied}", f"  {role_words(a.role)}, shape {sizes(a.shape)}, {clean(a.dtype)}", ""]
    lines += _wrapped(a.reason, width, "  ")
    derived = [s for s in a.steps if s.quantity != EVIDENCE]
    if derived:
        lines.append("")
        lines += _derivation(derived, width)
    lines += ["", f"  law: {_law_line(a)}"]
    if a.action == "draw":
        lines.append(f"  stream: seed {plan.seed}, name {clean(a.key)!r}")
    if a.through:
        lines += _wrapped(f"written through the parametrization of {clean(a.through)}", width, "  ")
    known = [big(r) for r in a.predicted_rms if r is not None]
    if known:
        lines.append(f"  predicted rms of its output: {', '.join(known)}")
    lines += [line for w in a.warnings for line in _wrapped(f"warning: {w}", width, "  ")]
    for step in a.steps:
        lines += _evidence(step, width) if step.quantity == EVIDENCE else []
    return "\n".join(lines)


def _evidence(step: Step, width: int) -> list[str]:
    """The measurements behind a choice, as a table below the derivation; those of an older fanin as it wrote them."""
    rows = MEASURED.get(str(step.value), ())
    head = ["", f"  what was measured for this choice  [{clean(step.source)}]", ""]
    if not rows:
        return [*head, *_wrapped(step.formula, width, "  ")]
    others = [Column(title="ours", least=12), Column(title="other starts", least=18), Column(title="seeds", rank=1)]
    table = columns(
        "setting", others, [[r.setting, r.ours, r.others, r.seeds] for r in rows], width=width - 2, prose=True
    )
    return [*head, *(f"  {line}".rstrip() for line in plain_text(table, width=width - 2).splitlines())]


def _derivation(steps: Sequence[Step], width: int) -> list[str]:
    names = [clean(s.quantity) for s in steps]
    values = [big(s.value, 6) if isinstance(s.value, float) else clean(s.value) for s in steps]
    left, mid = max(map(len, names)), min(max(map(len, values)), 24)
    lines = []
    for name, value, step in zip(names, values, steps, strict=True):
        text = clean(step.formula) + (f"  [{clean(step.source)}]" if step.source else "")
        head = f"  {name:<{left}} = {value:<{mid}}  "
        room = max(width - len(head), 20)
        worked = f"= {clean(step.worked)}" if step.worked else ""
        body = [line for words in (worked, text) for line in _lines(words, room)] or [""]
        lines.append((head + body[0]).rstrip())
        lines += [" " * len(head) + line for line in body[1:]]
    return lines


def _lines(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    """Words on lines; hyphens join parts of words that belong together."""
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def _law_line(a: Assignment) -> str:
    if a.action == "derive":
        return "none of its own: it follows from the parametrized tensor"
    if a.initializer is None:
        return "none: the tensor is kept as it is"
    return clean(a.initializer) + _factors(a) + ("  (read off the tensor, which is kept)" if a.action == "keep" else "")


def _factors(a: Assignment) -> str:
    """What the law is multiplied by, where it is."""
    whole = f" x {big(a.factor, 4)}" if a.factor != 1.0 else ""
    parts = ", ".join(f"{clean(p.name) or 'part'} x {big(p.factor, 4)}" for p in a.part_factors)
    return whole + (f" ({parts})" if parts else "")


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return _lines(clean(text), width, indent, indent + "  ")
