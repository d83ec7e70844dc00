"""Plans: the initializer of every parameter of a model, the reason for it, and how it is written into the model.

`build` asks a recipe for a choice per parameter, `assignment` is the answer as data, `data` holds the answers, `apply`
writes them (all or nothing), `verify` checks them on a live model, `view`, `explain` and `diff` print them, `plan` has
all of this as methods.
"""

from fanin.planning.assignment import Assignment
from fanin.planning.plan import Plan

__all__ = ["Assignment", "Plan"]
