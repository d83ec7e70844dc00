"""Which module of the model runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["ModuleFrame", "ModuleFrames"]


@dataclass(frozen=True, slots=True)
class ModuleFrame:
    """A module whose forward runs.

    Attributes:
        path: its qualified name, that of the module around it where the model does not own it.
        module: the module.
        first_site: number of sites that were there when it began.
    """

    path: str
    module: torch.nn.Module
    first_site: int = 0


class ModuleFrames:
    """The modules whose forwards run, the innermost last, and all that ran before."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.called: set[int] = set()
        self._paths = {id(m): name for name, m in model.named_modules()}
        self._running = [ModuleFrame("", model)]
        self._failing: ModuleFrame | None = None

    @property
    def current(self) -> ModuleFrame:
        """The innermost module that runs."""
        return self._running[-1]

    @property
    def innermost(self) -> torch.nn.Module:
        """The module that raised, or the one that runs."""
        return (self._failing or self.current).module

    @property
    def where(self) -> str:
        """The name of that module; "" for the model itself."""
        frame = self._failing or self.current
        return f"{frame.path} ({type(frame.module).__name__})" if frame.path else ""

    @property
    def has_failed(self) -> bool:
        """Whether a module raised and none was entered since."""
        return self._failing is not None

    def enter(self, module: torch.nn.Module, num_sites: int) -> None:
        """A forward begins."""
        self.called.add(id(module))
        self._failing = None
        self._running.append(ModuleFrame(self._paths.get(id(module), self.current.path), module, num_sites))

    def leave(self, *, raised: bool) -> ModuleFrame | None:
        """The innermost forward ends; None where none was entered."""
        if len(self._running) < 2:
            return None
        frame = self._running.pop()
        if raised and self._failing is None:
            self._failing = frame  # the innermost leaves first
        return frame
