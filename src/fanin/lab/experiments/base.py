"""What an experiment is: settings in, an outcome out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fanin.text.files import make_folder, write_figure, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Experiment", "Outcome", "Settings"]


def _silent(message: str, done: float) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run an experiment.

    Attributes:
        seed: of the first weights and the batches.
        full: run the larger version (more seeds, steps, depths), which may take longer than three minutes.
        workers: trainings at a time; 1 keeps to this process.
        progress: called with (what is being done, share done in 0..1).
    """

    seed: int = 0
    full: bool = False
    workers: int = 2
    progress: Callable[[str, float], None] = field(default=_silent)

    @property
    def on(self) -> str:
        """Where `fanin.compare` carries its runs out under these settings."""
        return "joblib" if self.workers > 1 else "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an experiment gave.

    Attributes:
        name: of the experiment.
        title: one line.
        numbers: JSON-ready results.
        figure: the picture.
        text: a paragraph that says what is seen.
    """

    name: str
    title: str
    numbers: dict[str, Any]
    figure: Figure
    text: str

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write NAME.png and NAME.json into the folder; returns both paths."""
        make_folder(folder)
        picture, numbers = folder / f"{self.name}.png", folder / f"{self.name}.json"
        write_figure(picture, self.figure, metadata={"Software": None})
        data = {"experiment": self.name, "title": self.title, "numbers": self.numbers, "text": self.text}
        write_text(numbers, json.dumps(data, indent=1, allow_nan=False) + "\n")
        return picture, numbers


class Experiment(Protocol):
    """A module of `fanin.lab.experiments`."""

    TITLE: str

    def run(self, settings: Settings) -> Outcome:
        """Carry the experiment out."""
        ...
