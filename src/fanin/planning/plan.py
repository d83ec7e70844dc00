"""`Plan`: what every parameter of a model should start as, as data."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fanin.errors import PlanError, UnknownNameError, did_you_mean
from fanin.planning.assignment import Assignment

if TYPE_CHECKING:
    import torch

    from fanin.planning.diff import PlanDiff
    from fanin.planning.materialize import Materialized
    from fanin.planning.verify import Verification

__all__ = ["SCHEMA", "Plan"]

SCHEMA = "fanin-plan/1"


@dataclass(frozen=True, kw_only=True)
class Plan(Mapping[str, Assignment]):
    """A mapping of qualified parameter name -> `Assignment`; a tied parameter answers to all of its names.

    Attributes:
        recipe: name of the recipe that made it.
        seed: seed of the streams, 0 <= seed < 2**64.
        model: class name of the model.
        assignments: by first qualified name, in the order of the model.
        options: the recipe's options as they were used.
        warnings: what concerns the whole model.
        extras: what else the recipe has to say, JSON-ready (learning-rate groups of mup, the predicted stream).

    Example:
        >>> import fanin, torch
        >>> plan = fanin.plan(torch.nn.Linear(784, 10), recipe="keep")
        >>> list(plan), plan["weight"].fan_in
        (['weight', 'bias'], 784.0)
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
        names = {alias: a.name for a in self.assignments.values() for alias in a.names}
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

    def __str__(self) -> str:
        from fanin.planning.explain import plan_text

        return plan_text(self)

    # ------------------------------------------------------------------ for the reader
    def explain(self, name: str) -> str:
        """The derivation of one parameter's law, number by number, with sources.

        Args:
            name: any qualified name of the parameter.

        Raises:
            UnknownNameError: no such parameter.
        """
        from fanin.planning.explain import explain_text

        return explain_text(self, self[name])

    def diff(self, other: Plan | torch.nn.Module) -> PlanDiff:
        """What another plan does differently, or where a live model departs from this plan.

        Args:
            other: a plan, or a model whose tensors are held against this one.
        """
        from fanin.planning.diff import diff_plans, diff_with_model

        return diff_plans(self, other) if isinstance(other, Plan) else diff_with_model(self, other)

    def verify(self, model: torch.nn.Module, *, z: float = 5.0) -> Verification:
        """Whether a model's tensors are what the plan says.

        Args:
            model: the live model; nothing in it changes.
            z: tolerance in standard errors.
        """
        from fanin.planning.verify import verify

        return verify(self, model, z=z)

    # ------------------------------------------------------------------ writing
    def apply_(self, model: torch.nn.Module, *, progress: bool = False, rollback: bool = True) -> torch.nn.Module:
        """Write the plan into a model: all or nothing.

        Everything is checked first. An error while writing, Ctrl-C included, puts every tensor back bit for bit.

        Args:
            model: the model; its parameters are overwritten in place and stay the same objects.
            progress: show a bar on stderr.
            rollback: keep a copy of each tensor until all are written. Without it an error names the tensors already
                written.

        Returns:
            The same model.

        Raises:
            PlanError: the plan does not fit the model; nothing was written.
            FillError: a write failed; the message says what was restored.
        """
        from fanin.planning.apply import apply_

        return apply_(self, model, progress=progress, rollback=rollback)

    def materialize(
        self,
        model: torch.nn.Module,
        *,
        device: str = "cpu",
        buffers: Mapping[str, torch.Tensor] | None = None,
    ) -> Materialized:
        """Give a model built on the meta device its memory, its weights and its buffers.

        Args:
            model: a model with tensors on "meta"; it is changed in place.
            device: where the tensors go.
            buffers: values for buffers that cannot be known, by qualified name.

        Raises:
            PlanError: the plan does not fit, or buffers cannot be known (named); nothing was changed.
        """
        from fanin.planning.materialize import materialize

        return materialize(self, model, device=device, buffers=buffers or {})

    def redrawn(self) -> Plan:
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
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
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
        """Write the plan as JSON; a file that exists is replaced only when the new one is complete."""
        target = Path(path)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(self.to_json())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
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
