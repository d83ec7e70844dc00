"""Plans: what every parameter of a model should start as, why, and the writing of it.

Follow one weight: `build` asks a recipe for a choice per parameter, `assignment` is the answer as data, `plan` holds
the answers,
`apply` writes them (all or nothing), `verify` proves them on a live model, `diff` and `explain` are for the reader.
"""

from fanin.planning.assignment import Assignment
from fanin.planning.plan import Plan

__all__ = ["Assignment", "Plan"]
