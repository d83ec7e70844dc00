"""A rule's decision before the law has its numbers: a draft becomes a law when it is known what the weight reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from fanin.initializers import Initializer
from fanin.recipes.step import Step

__all__ = ["Draft", "Made", "Read", "fixed"]


_FROM = {
    "assumed": "assumed: nothing could be predicted here",
    "the given input": "measured on the given input",
    "a made input": "no inputs were given: measured on normal numbers made in their place",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a weight is applied to, as far as it could be predicted.

    Attributes:
        second_moment: E x^2 of the numbers it reads; 1 where it is not known.
        mean: E x.
        known: whether the two were predicted, or are only assumed.
        how: where they are from: "theory", "empirical", "the given input", "a made input" (none was given), "assumed".
        stream_rms: root mean square of the residual stream at its start; 1 where there is none.
        fan_in: terms that the weight sums into one output; None where it has no input axis.
        fan_out: terms that it sums into one input's gradient.
    """

    second_moment: float = 1.0
    mean: float = 0.0
    known: bool = False
    how: str = "assumed"
    stream_rms: float = 1.0
    fan_in: float | None = None
    fan_out: float | None = None

    def words(self) -> str:
        """Where `second_moment` is from, for a derivation."""
        return _FROM.get(self.how, f"second moment of what it reads, predicted ({self.how})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A settled law.

    Attributes:
        law: the initializer; None to keep the tensor.
        steps: its derivation.
        var: variance of an entry to predict what follows with, where the law's own would predict it wrongly: a
            mirrored map keeps exactly the size of what it reads, which independent entries would not.
        mean: likewise its mean.
        drawn: what follows is predicted from numbers of the law, because the model uses a function of the weight.
    """

    law: Initializer | None
    steps: tuple[Step, ...] = ()
    var: float | None = None
    mean: float | None = None
    drawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A rule's decision about one parameter.

    Attributes:
        rule: short name of the rule.
        reason: one sentence for a reader.
        make: settles the law when it is known what is read.
        action: "draw", or "keep" the tensor as it is.
        evidence: code of the measurements behind it; "" where there are none.
        like: name of the parameter whose reads decide, where they are not its own.
        stream: number of the residual stream whose size decides, where the parameter's own role does not say.
        warnings: what the reader should know.
    """

    rule: str
    reason: str
    make: Callable[[Read], Made] = field(repr=False)
    action: Literal["draw", "keep"] = "draw"
    evidence: str = ""
    like: str = ""
    stream: int | None = None
    warnings: tuple[str, ...] = ()


def fixed(law: Initializer | None, *, rule: str, reason: str, evidence: str = "", **more: Any) -> Draft:
    """A draft whose law does not depend on what is read."""
    steps = more.pop("steps", ())
    return Draft(rule=rule, reason=reason, make=lambda read: Made(law=law, steps=steps), evidence=evidence, **more)
