"""`ParamGroups`: a list of groups that any torch optimizer takes, with the plan whose laws belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fanin.errors import UnknownNameError, did_you_mean
from fanin.text.names import clean
from fanin.text.numbers import figures
from fanin.text.paths import group_paths

if TYPE_CHECKING:
    from fanin.planning.plan import Plan
    from fanin.text.columns import ColumnTable

__all__ = ["ParamGroups"]


class ParamGroups(list[dict[str, Any]]):
    """Parameter groups, as `fanin.param_groups` makes them: a list that any torch optimizer takes.

    Attributes:
        plan: the plan whose laws belong to these rates; apply this one to the model. It holds the growth, so that the
            groups can be made again from the saved plan without a base model.
        optimizer: what they are for.
        changed: names of the parameters whose law differs from that of the plan that was given.
        notes: what the reader should know.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        *,
        plan: Plan,
        optimizer: str,
        changed: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(groups)
        self.plan = plan
        self.optimizer = optimizer
        self.changed = changed
        self.notes = notes

    def __reduce__(self) -> Any:
        """Copies and pickles hold the plan as data."""
        return _made_again, (list(self), self.plan.to_dict(), self.optimizer, self.changed, self.notes)

    def of(self, optimizer: str) -> list[dict[str, Any]]:
        """The groups that one optimizer trains: "muon" or "adamw" of groups for Muon.

        Args:
            optimizer: its name.

        Raises:
            UnknownNameError: no group is for it.
        """
        parts = list(dict.fromkeys(g.get("optimizer", self.optimizer) for g in self))
        if optimizer not in parts:
            raise UnknownNameError(f"no group is for the optimizer {optimizer!r}; {did_you_mean(optimizer, parts)}")
        return [g for g in self if g.get("optimizer", self.optimizer) == optimizer]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the groups with names in place of tensors, and the notes."""
        return {
            "schema": 1,
            "optimizer": self.optimizer,
            "groups": [{k: list(v) if k == "names" else v for k, v in g.items() if k != "params"} for g in self],
            "changed": list(self.changed),
            "notes": list(self.notes),
        }

    def table(self) -> ColumnTable:
        """The groups as a table that rich prints."""
        from fanin.text.columns import Column, ColumnTable

        others = (
            *(Column(title=title, side="right") for title in ("lr", "decay")),
            Column(title="eps", side="right", rank=1),
            Column(title="parameters", least=24),
        )
        return ColumnTable("role", others, tuple(map(_cells, self)), prose=True)

    def __repr__(self) -> str:
        numbers = sum(len(group["names"]) for group in self)
        return f"<ParamGroups for {self.optimizer}: {numbers} parameters in {len(self)} groups>"

    def _repr_html_(self) -> str:
        from fanin.text.html import html_table

        table = self.table()
        return html_table(f"Parameter groups for {self.optimizer}", table.heads, table.rows)

    def show(self) -> None:
        """Print the table and the notes."""
        from rich.text import Text

        from fanin.text.console import standard_console

        console = standard_console()
        console.print(self.table())
        for note in self.notes:
            console.print(Text(f"note: {note}"))


def _cells(group: dict[str, Any]) -> tuple[str, ...]:
    names = ", ".join(clean(g.pattern) for g in group_paths(group["names"]))
    role = f"{group['role']} ({group['optimizer']})" if "optimizer" in group else group["role"]
    eps = figures(group["eps"], 3) if "eps" in group else "-"
    return (role, figures(group["lr"], 3), figures(group["weight_decay"], 3), eps, names)


def _made_again(
    groups: list[dict[str, Any]], plan: dict[str, Any], optimizer: str, changed: tuple[str, ...], notes: tuple[str, ...]
) -> ParamGroups:
    from fanin.planning.plan import Plan

    return ParamGroups(groups, plan=Plan.from_dict(plan), optimizer=optimizer, changed=changed, notes=notes)
