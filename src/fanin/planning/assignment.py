"""One parameter of a model in a plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from fanin.errors import FaninError, PlanError
from fanin.initializers import Initializer
from fanin.initializers import from_dict as law_from_dict
from fanin.layout import Layout
from fanin.model.roles import ROLES, Role, Source
from fanin.recipes.step import Step
from fanin.text.html import html_table
from fanin.text.names import clean
from fanin.text.numbers import sizes
from fanin.text.reading import read_fields, shown

__all__ = ["Action", "Assignment", "PartFactor"]

Action = Literal["draw", "keep", "derive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFactor:
    """What one part of a parameter is multiplied by.

    Attributes:
        name: what the part is ("attn_q"); empty where it has no name.
        box: first index and the one after the last, for each axis.
        factor: finite and not negative.
    """

    name: str = ""
    box: tuple[tuple[int, int], ...]
    factor: float

    @property
    def slices(self) -> tuple[slice, ...]:
        """The part as an index of the tensor."""
        return tuple(slice(start, stop) for start, stop in self.box)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(stop - start for start, stop in self.box)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One parameter of a model and how it starts.

    Attributes:
        name: its first qualified name.
        aliases: its other qualified names (tied weights).
        role: what it does in the network, one of `fanin.model.roles.ROLES`.
        shape: its shape.
        dtype: without the ``torch.`` prefix.
        action: "draw": the law is drawn from the keyed stream. "keep": the tensor stays as it is; `initializer` is
            then the law read off it, None where none was recognised. "derive": another assignment's parametrization
            sets it.
        initializer: the law; None for what is derived, or kept and not recognised.
        layout: what the axes mean; None where the law needs none.
        fan_in: terms summed into one output; None without an input axis.
        fan_out: terms summed into one input's gradient.
        factor: what the values are multiplied by: 1 unless the start was calibrated. Of a drawn tensor each application
            multiplies the law's values; a kept one was multiplied once, by `fanin.calibrate`.
        part_factors: likewise for parts of the tensor (q, k and v; gates; experts) that have factors of their own.
        std: standard deviation of the realised law times the factors (its root mean square about zero for a constant);
            None where unknown.
        key: name of the stream, which is the parameter's name, or the parametrized tensor's.
        through: qualified name of the parametrized tensor that the values are written to; empty for a plain parameter.
        rule: which rule of the recipe decided.
        reason: one sentence for a reader.
        steps: the derivation, line by line.
        warnings: what the reader should know about this parameter.
        zero_rows: rows of the first axis that are zero whatever the law (the padding of an embedding).
        predicted_rms: root mean square that the plan predicts for the output of the map, one number per use; None where
            nothing could be predicted.
        predicted_se: standard error of the natural logarithm of each number of `predicted_rms`, from the random draw of
            weights of this width; None where unknown.
        role_from: who says the role and the layout: "graph", the captured forward pass, or "module", the module that
            owns the parameter.
        understood: False where the tensor stays as it is because the recipe could not place it.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    dtype: str
    action: Action = "draw"
    initializer: Initializer | None = None
    layout: Layout | None = None
    fan_in: float | None = None
    fan_out: float | None = None
    factor: float = 1.0
    part_factors: tuple[PartFactor, ...] = ()
    std: float | None = None
    key: str = ""
    aliases: tuple[str, ...] = ()
    through: str = ""
    rule: str = ""
    reason: str = ""
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    zero_rows: tuple[int, ...] = ()
    predicted_rms: tuple[float | None, ...] = ()
    predicted_se: tuple[float | None, ...] = ()
    role_from: Source = "module"
    understood: bool = True

    def __post_init__(self) -> None:
        if self.action == "draw" and self.initializer is None:
            raise PlanError(f"{self.name!r} is to be drawn but has no initializer; give one, or set action='keep'")
        if self.role not in ROLES:
            raise PlanError(f"{self.name!r} has the role {self.role!r}, which is none of {', '.join(ROLES)}")
        if any(not _fits(p.box, self.shape) for p in self.part_factors):
            raise PlanError(f"{self.name!r} has the shape {self.shape}, and a part with a factor lies outside it")
        if not self.key:
            object.__setattr__(self, "key", self.through or self.name)

    def __repr__(self) -> str:
        law = self.action if self.initializer is None else str(self.initializer)
        return f"<Assignment of {clean(self.name)}: {law}, role {self.role}, shape {sizes(self.shape)}>"

    def _repr_html_(self) -> str:
        steps = [(s.quantity, s.value, s.worked, s.formula, s.source) for s in self.steps]
        heads = ("quantity", "value", "from", "formula", "source")
        return html_table(f"{repr(self)[1:-1]}: {self.reason}", heads, steps)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_scaled(self) -> bool:
        """Whether a factor changes the values that the law gives."""
        return self.factor != 1.0 or any(p.factor != 1.0 for p in self.part_factors)

    @property
    def scale(self) -> float:
        """Root mean square of the factors over all elements: what multiplies the std of the law."""
        covered = sum(p.numel for p in self.part_factors)
        squares = sum(p.numel * p.factor**2 for p in self.part_factors) + max(self.numel - covered, 0)
        return self.factor * math.sqrt(squares / max(self.numel, covered, 1))

    @property
    def names(self) -> tuple[str, ...]:
        """All qualified names, the first one first."""
        return (self.name, *self.aliases)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form without empty fields."""
        full = {f.name: getattr(self, f.name) for f in fields(self)}
        full |= {
            "shape": list(self.shape),
            "aliases": list(self.aliases),
            "warnings": list(self.warnings),
            "predicted_rms": list(self.predicted_rms),
            "predicted_se": list(self.predicted_se),
            "part_factors": [asdict(p) | {"box": [list(ends) for ends in p.box]} for p in self.part_factors],
            "zero_rows": list(self.zero_rows),
            "initializer": None if self.initializer is None else self.initializer.to_dict(),
            "layout": None if self.layout is None else self.layout.to_dict(),
            "steps": [s.to_dict() for s in self.steps],
        }
        if self.key == (self.through or self.name):
            del full["key"]
        if self.understood:
            del full["understood"]
        if self.factor == 1.0:
            del full["factor"]
        return {k: v for k, v in full.items() if k in _ALWAYS or v not in (None, "", [])}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Assignment:
        """Inverse of `to_dict`.

        Raises:
            PlanError: a field that no assignment has, lacks, or that holds something it cannot; the message names it.
        """
        try:
            made = read_fields(cls, data, _READERS)
            for name, value in made.items():
                _assert_range(name, value)
            return cls(**made)
        except PlanError:
            raise
        except FaninError as error:
            raise PlanError(str(error)) from error


def _fits(box: tuple[tuple[int, int], ...], shape: tuple[int, ...]) -> bool:
    return len(box) == len(shape) and all(0 <= ends[0] < ends[1] <= n for ends, n in zip(box, shape, strict=True))


_ALWAYS = frozenset({"name", "role", "shape", "dtype", "action"})


def _part_from_dict(data: Any) -> PartFactor:
    made = PartFactor(**read_fields(PartFactor, data))
    if any(len(ends) != 2 or not 0 <= ends[0] < ends[1] for ends in made.box):
        raise PlanError(f"field 'box' must hold [first, after the last] for each axis; got {shown(data['box'])}")
    if made.factor < 0.0:
        raise PlanError(f"field 'factor' must not be negative; got {shown(made.factor)}")
    return made


_READERS = {
    Initializer: law_from_dict,
    Layout: Layout.from_dict,
    Step: Step.from_dict,
    PartFactor: _part_from_dict,
}
_NAMES = frozenset({"name", "aliases", "key", "through"})
_POSITIVE = frozenset({"fan_in", "fan_out", "factor", "std", "predicted_rms", "predicted_se"})
_MOST_NUMBERS = 1 << 63  # a tensor holds no more


def _assert_range(field: str, value: Any) -> None:
    """Check that the value of a field is one that a parameter can have."""
    if field == "shape" and (any(n < 0 for n in value) or math.prod(value) >= _MOST_NUMBERS):
        raise PlanError(f"field 'shape' must hold sizes >= 0 whose product is below 2**63; got {shown(list(value))}")
    several = value if isinstance(value, tuple) else (value,)
    if field == "zero_rows" and any(n < 0 for n in value):
        raise PlanError(f"field 'zero_rows' must hold indices >= 0; got {shown(list(value))}")
    if field in _POSITIVE and any(v is not None and v < 0 for v in several):
        raise PlanError(f"field {field!r} must not be negative; got {shown(value)}")
    if field in _NAMES and any("\0" in v for v in several):
        raise PlanError(f"field {field!r}: names hold no NUL character; got {shown(value)}")
    if field in ("name", "aliases") and any(not v for v in several):
        raise PlanError(f"field {field!r}: a parameter's name is not empty")
