"""`PlanData`: what every parameter of a model should start as, as data that can be saved and read again.

What can be done with it is one file a verb (`apply`, `verify`, `diff` ...); `fanin.planning.plan.Plan` has them all as
methods.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

from fanin.errors import ArgumentError, FaninError, PlanError, UnknownNameError, did_you_mean, sentence
from fanin.memory import uncollected
from fanin.planning.assignment import Assignment
from fanin.text.files import write_text
from fanin.text.names import clean, shorten
from fanin.text.reading import assert_plain, decode_json, read_bytes, read_fields, shown

__all__ = ["SCHEMA", "PlanData", "assert_plan"]

SCHEMA = "fanin-plan/2"
_READ = ("fanin-plan/1", SCHEMA)  # the first has no factors
Self = TypeVar("Self", bound="PlanData")


@dataclass(frozen=True, kw_only=True)
class PlanData(Mapping[str, Assignment]):
    """A plan as data: qualified parameter name -> `Assignment`; a tied parameter answers to all of its names.

    Attributes:
        recipe: name of the recipe that made it.
        seed: seed of the streams, 0 <= seed < 2**64.
        model: class name of the model.
        assignments: by first qualified name, in the order of the model.
        options: the recipe's options as they were used.
        warnings: about the model as a whole.
        extras: other results of the recipe, JSON-ready (learning-rate groups of mup, the predicted stream).

    Example:
        >>> kept = Assignment(
        ...     name="weight", aliases=("tied.weight",), role="weight", shape=(10, 784), dtype="float32", action="keep"
        ... )
        >>> data = PlanData(recipe="keep", seed=0, model="Linear", assignments={"weight": kept})
        >>> data["tied.weight"].name, PlanData.from_dict(data.to_dict()) == data
        ('weight', True)
    """

    recipe: str
    seed: int
    model: str
    assignments: Mapping[str, Assignment]
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    _names: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for attribute in ("assignments", "options", "extras"):
            object.__setattr__(self, attribute, MappingProxyType(dict(getattr(self, attribute))))
        through = {a.through: a.name for a in self.assignments.values() if a.through and a.action != "derive"}
        names = through | {alias: a.name for a in self.assignments.values() for alias in a.names}
        object.__setattr__(self, "_names", MappingProxyType(names))

    # ------------------------------------------------------------------ a mapping
    def __getitem__(self, name: str) -> Assignment:
        try:
            return self.assignments[self._names[name]]
        except (KeyError, TypeError):
            raise UnknownNameError(
                f"no parameter {name!r} in this plan of {clean(self.model)}; {did_you_mean(str(name), self._names)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.assignments)

    def __len__(self) -> int:
        return len(self.assignments)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __hash__(self) -> int:
        return hash((self.recipe, self.seed, self.model, tuple(self.assignments)))

    # ------------------------------------------------------------------ another plan
    def redrawn(self: Self) -> Self:
        """The same plan with every recognised law drawn instead of kept; useful with the recipe ``"keep"``."""
        drawn = {
            n: replace(a, action="draw", reason=f"drawn again from the law read off the tensor: {a.reason}")
            if a.action == "keep" and a.initializer is not None
            else a
            for n, a in self.assignments.items()
        }
        return replace(self, assignments=drawn)

    # ------------------------------------------------------------------ storing
    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, under the schema `SCHEMA`."""
        full: dict[str, Any] = {
            "schema": SCHEMA,
            "model": self.model,
            "recipe": self.recipe,
            "seed": self.seed,
            "options": dict(self.options),
            "warnings": list(self.warnings),
            "extras": dict(self.extras),
            "assignments": [a.to_dict() for a in self.assignments.values()],
        }
        return full

    @classmethod
    def from_dict(cls: type[Self], data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            PlanError: another schema, or a field that is missing, unknown, or holds something it cannot; the message
                names the assignment and the field.
        """
        if not isinstance(data, Mapping):
            raise PlanError(f"a plan is a mapping; got {shown(data)}")
        _assert_plain(data)
        if data.get("schema") not in _READ:
            raise PlanError(
                f"not a plan of schema {' or '.join(map(repr, _READ))}: got {shown(data.get('schema'))}. Save it again "
                "with this fanin."
            )
        listed = data.get("assignments")
        if not isinstance(listed, list | tuple):
            raise PlanError(f"field 'assignments' must be a list of assignments; got {shown(listed)}")
        try:
            rest = {k: v for k, v in data.items() if k not in ("schema", "assignments")}
            made = read_fields(cls, {**rest, "assignments": {}})
        except FaninError as error:
            raise PlanError(str(error)) from error
        if not 0 <= made["seed"] < 1 << 64:
            raise PlanError(f"field 'seed' must be a whole number with 0 <= seed < 2**64; got {made['seed']}")
        return cls(**{**made, "assignments": _by_name(listed)})

    def to_json(self) -> str:
        """The plan as JSON text; the same plan gives the same bytes."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON; a file that exists is replaced only when the new one is complete.

        Raises:
            OutputError: the file cannot be written; an older file of that name is unchanged.
        """
        write_text(path, self.to_json())

    @classmethod
    def load(cls: type[Self], path: str | os.PathLike[str]) -> Self:
        """Read a plan that `save` wrote.

        Raises:
            PlanError: the file holds no plan of this schema; the message names the assignment and the field.
            InputError: the file cannot be read, or is not there.
        """
        text = read_bytes(path)
        try:
            with uncollected():
                return cls.from_dict(decode_json(text))
        except FaninError as error:
            raise PlanError(
                f"'{clean(os.fsdecode(path))}' holds no plan: {sentence(str(error))} Plans are written with "
                "plan.save(path) or fanin plan --out."
            ) from error


def assert_plan(plan: object) -> None:
    """Check that it is a plan.

    Raises:
        ArgumentError: it is something else.
    """
    if not isinstance(plan, PlanData):
        raise ArgumentError(
            f"plan must be a plan, as fanin.plan makes it or fanin.Plan.load reads it; got {shown(plan)}"
        )


def _assert_plain(data: Mapping[str, Any]) -> None:
    try:
        assert_plain(data)
    except FaninError as error:
        raise PlanError(str(error)) from error


def _by_name(listed: Sequence[Any]) -> dict[str, Assignment]:
    """The assignments by their first names; no name may be in two of them.

    Raises:
        PlanError: one of them is wrong.
    """
    made: dict[str, Assignment] = {}
    taken: dict[str, int] = {}
    for place, data in enumerate(listed, 1):
        name = data.get("name") if isinstance(data, Mapping) else None
        where = f"assignment {place}" + (f" ('{shorten(clean(name), 80)}')" if isinstance(name, str) else "")
        try:
            one = Assignment.from_dict(data)
        except FaninError as error:
            raise PlanError(f"{where}: {error}") from error
        for known in one.names:
            if known in taken:
                raise PlanError(f"{where}: '{clean(known)}' is already named by assignment {taken[known]}; keep one")
            taken[known] = place
        made[one.name] = one
    return made
