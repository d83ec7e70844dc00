"""`ParamGroups`: a list of groups that any torch optimizer takes, with the plan whose laws belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fanin.errors import UnknownNameError, did_you_mean
from fanin.text.names import clean
from fanin.text.numbers import figures
from fanin.text.paths import group_paths

if TYPE_CHECKING:
    from rich.table import Table

    from fanin.planning.plan import Plan

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

    def table(self) -> Table:
        """The groups as a rich table."""
        from rich.table import Table

        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("role", "lr", "decay", "eps"):
            table.add_column(title, justify="left" if title == "role" else "right", no_wrap=True)
        table.add_column("parameters")
        for group in self:
            names = ", ".join(clean(g.pattern) for g in group_paths(group["names"]))
            role = f"{group['role']} ({group['optimizer']})" if "optimizer" in group else group["role"]
            eps = figures(group["eps"], 3) if "eps" in group else "-"
            table.add_row(role, figures(group["lr"], 3), figures(group["weight_decay"], 3), eps, names)
        return table

    def show(self) -> None:
        """Print the table and the notes."""
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False)
        console.print(self.table())
        for note in self.notes:
            console.print(Text(f"note: {note}"))


def _made_again(
    groups: list[dict[str, Any]], plan: dict[str, Any], optimizer: str, changed: tuple[str, ...], notes: tuple[str, ...]
) -> ParamGroups:
    from fanin.planning.plan import Plan

    return ParamGroups(groups, plan=Plan.from_dict(plan), optimizer=optimizer, changed=changed, notes=notes)
