"""`PlanData`: what every parameter of a model should start as, as data that can be saved and read again.

What can be done with it is one file a verb (`apply`, `verify`, `diff` ...); `fanin.planning.plan.Plan` has them all as
methods.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from fanin.errors import PlanError, UnknownNameError, did_you_mean
from fanin.planning.assignment import Assignment
from fanin.text.files import write_text

__all__ = ["SCHEMA", "PlanData"]

SCHEMA = "fanin-plan/1"
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
        warnings: what concerns the whole model.
        extras: what else the recipe has to say, JSON-ready (learning-rate groups of mup, the predicted stream).

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
        except KeyError:
            raise UnknownNameError(
                f"no parameter {name!r} in this plan of {self.model}; {did_you_mean(name, self._names)}"
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
            PlanError: another schema, or fields that do not belong to it.
        """
        if data.get("schema") != SCHEMA:
            raise PlanError(
                f"not a plan of schema {SCHEMA!r}: got {data.get('schema')!r}. Save it again with this fanin."
            )
        assignments = [Assignment.from_dict(a) for a in data["assignments"]]
        return cls(
            recipe=data["recipe"],
            seed=data["seed"],
            model=data["model"],
            options=data.get("options", {}),
            warnings=tuple(data.get("warnings", ())),
            extras=data.get("extras", {}),
            assignments={a.name: a for a in assignments},
        )

    def to_json(self) -> str:
        """The plan as JSON text; the same plan gives the same bytes."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON; a file that exists is replaced only when the new one is complete.

        Raises:
            OutputError: the file cannot be written; what was there stands.
        """
        write_text(path, self.to_json())

    @classmethod
    def load(cls: type[Self], path: str | os.PathLike[str]) -> Self:
        """Read a plan that `save` wrote.

        Raises:
            PlanError: the file holds no plan of this schema.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise PlanError(
                f"{os.fspath(path)!r} holds no JSON ({error}); a plan is written with plan.save(path)"
            ) from error
        if not isinstance(data, dict):
            raise PlanError(
                f"{os.fspath(path)!r} holds {type(data).__name__}, not a plan; a plan is written with plan.save(path)"
            )
        return cls.from_dict(data)
