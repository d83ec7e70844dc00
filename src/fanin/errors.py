"""The exception family.

Every error that fanin raises on purpose derives from `FaninError` and from the built-in exception a caller would
expect, so both
``except fanin.errors.FaninError`` and ``except ValueError`` work. A message has three parts: what is wrong with the
value shown, what is allowed, what to do next.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable
from itertools import takewhile

__all__ = [
    "ArgumentError",
    "CalibrationError",
    "CaptureError",
    "CertificateError",
    "CheckFailedError",
    "CoverageError",
    "DtypeError",
    "FaninError",
    "FaninWarning",
    "FillError",
    "InputError",
    "LayoutError",
    "MissingDependencyError",
    "MissingFileError",
    "OutputError",
    "PlanError",
    "ShapeError",
    "TargetError",
    "TheoryError",
    "UnknownNameError",
    "WorseStartError",
    "did_you_mean",
    "sentence",
]


class FaninError(Exception):
    """Base of all errors that fanin raises on purpose."""


class FaninWarning(UserWarning):
    """Base of all warnings: given only where the reader can act."""


class ArgumentError(FaninError, ValueError):
    """A value outside what is allowed."""


class ShapeError(ArgumentError):
    """A shape that the asked operation does not fit."""


class LayoutError(ShapeError):
    """A layout that does not fit the shape it is used with, or is needed and was not given."""


class DtypeError(FaninError, TypeError):
    """A dtype that cannot hold the asked values."""


class UnknownNameError(FaninError, LookupError):
    """A name that is in no table."""


# optional library -> the extra of fanin that installs it
_EXTRAS = {
    "torch": "torch",
    "numba": "fast",
    "matplotlib": "plots",
    "jax": "jax",
    "flax": "jax",
    "keras": "keras",
    "mlxtend": "lab",
    "sklearn": "lab",
    "joblib": "lab",
    "ray": "ray",
}


class MissingDependencyError(FaninError, ImportError):
    """An optional library is needed and absent."""

    @classmethod
    def of(cls, library: str, *, extra: str, needed_for: str) -> MissingDependencyError:
        """The error that names the extra to install."""
        return cls(
            f"{needed_for} needs {library}, which cannot be imported; it is no part of fanin's core. "
            f"Install it with: pip install 'fanin[{extra}]'"
        )

    @classmethod
    def unless_installed(cls, *libraries: str, extra: str, needed_for: str) -> None:
        """Raise the error for the first of the libraries that is not installed; none is loaded."""
        for library in libraries:
            if importlib.util.find_spec(library) is None:
                raise cls.of(library, extra=extra, needed_for=needed_for)

    @classmethod
    def unless_lab(cls, *, needed_for: str) -> None:
        """Raise the error where a library is missing that every experiment needs."""
        cls.unless_installed("torch", "matplotlib", "mlxtend", extra="lab", needed_for=needed_for)

    @classmethod
    def instead_of(cls, error: ModuleNotFoundError, *, needed_for: str) -> ImportError:
        """The error that names the extra of the module that was not found; `error` itself where no extra has it."""
        library = (error.name or "").partition(".")[0]
        return cls.of(library, extra=_EXTRAS[library], needed_for=needed_for) if library in _EXTRAS else error


class TheoryError(ArgumentError):
    """A question that theory has no answer to (no critical point, not elementwise, not finite)."""


class CaptureError(FaninError, RuntimeError):
    """A model could not be read.

    Attributes:
        inputs_at_fault: the inputs are not what the model takes (their dtype, ids out of range), and the message says
            what to give.
    """

    inputs_at_fault: bool = False


class PlanError(FaninError, ValueError):
    """A plan that does not fit its model, or cannot be made."""


class CoverageError(PlanError):
    """Parameters that a recipe cannot place."""


class CalibrationError(FaninError, ArithmeticError):
    """A model whose outputs cannot be brought to their targets: an output holds NaN, or a weight cannot be reached."""


class CertificateError(FaninError, ValueError):
    """A certificate cannot be made, read or merged; the message says why."""


class FillError(FaninError, RuntimeError):
    """Weights could not be written; the message says what was and what was not."""


class InputError(FaninError, OSError):
    """A file that cannot be read."""


class MissingFileError(InputError, FileNotFoundError):
    """A file that is to be read and is not there."""


class OutputError(FaninError, OSError):
    """A file that cannot be written; the file that was there is unchanged. `errno` is the operating system's."""


class WorseStartError(PlanError):
    """A planned start that measures worse than what the model holds; nothing was written."""


class CheckFailedError(FaninError, AssertionError):
    """A check found something at or above the severity asked for."""


class TargetError(FaninError, ValueError):
    """A command-line target that cannot be loaded."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A half-sentence that names the closest known names; where none is close all, or the nearest of more than 40.

    Example:
        >>> did_you_mean("he_norml", ["he_normal", "glorot_normal"])
        "did you mean 'he_normal'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if len(names) > _LISTED:
        return f"the nearest of {len(names)}: " + ", ".join(sorted(_nearest(name, names)))
    return "known: " + ", ".join(names)


_LISTED = 40  # names that an error lists; of more it gives the nearest


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    """Eight names, those first that begin alike."""

    def likeness(known: str) -> tuple[int, float]:
        begin = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name.lower(), known.lower(), strict=False))
        )
        return begin, difflib.SequenceMatcher(None, name.lower(), known.lower()).ratio()

    return sorted(names, key=likeness, reverse=True)[:8]


def sentence(text: str) -> str:
    """The text with a full stop behind it, unless it ends in a mark already.

    Example:
        >>> sentence("known: a, b"), sentence("did you mean 'a'?")
        ('known: a, b.', "did you mean 'a'?")
    """
    return text if text.endswith((".", "?", "!")) else f"{text}."
