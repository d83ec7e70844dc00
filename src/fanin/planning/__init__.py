"""Plans: the initializer of every parameter of a model, the reason for it, and how it is written into the model.

`build` asks a recipe for a choice per parameter, `assignment` is the answer as data, `plan` holds the answers,
`apply` writes them (all or nothing), `verify` checks them on a live model, `diff` and `explain` show them.
"""

from fanin.planning.assignment import Assignment
from fanin.planning.plan import Plan

__all__ = ["Assignment", "Plan"]
