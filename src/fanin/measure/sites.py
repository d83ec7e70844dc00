"""The sites of a pass while it runs, and the hooks that reduce their gradients."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from fanin.measure.frames import ModuleFrame
from fanin.measure.origins import Origin
from fanin.measure.quantities.moments import Packed, pack_signal, unpack
from fanin.measure.record import OperationOutput, Site, SiteKind, TensorStats
from fanin.measure.sampling import is_signal, strided

__all__ = ["OpenSite", "Sites"]

_LOOK = 256  # elements that are compared


@dataclass(slots=True)
class OpenSite:
    """A site while the pass runs.

    Attributes:
        which: the output that it is.
        forward: statistics of the output.
        backward: statistics of its gradient, None until one arrives.
        follower: the operation that first read the output, "" until one does.
        follower_factor: the plain number that multiplied it on the way there.
        follower_bent: whether a function that is no multiple of what it reads was taken on the way there.
        measured: further quantities, by their field of `Site`.
    """

    which: OperationOutput
    forward: Packed | TensorStats
    backward: Packed | TensorStats | None = None
    follower: str = ""
    follower_factor: float = 1.0
    follower_bent: bool = False
    measured: dict[str, Any] = field(default_factory=dict)

    def finished(self, *, multiplied: bool = False) -> Site | None:
        """The frozen record; `multiplied` as in `Site`."""
        forward = unpack(self.forward)
        if forward is None:
            return None
        which = {f.name: getattr(self.which, f.name) for f in fields(self.which)}
        backward = unpack(self.backward)
        return Site(
            **which,
            forward=forward,
            backward=backward,
            follower=self.follower,
            follower_factor=self.follower_factor,
            follower_bent=self.follower_bent,
            multiplied=multiplied,
            **self.measured,
        )


class Sites:
    """The sites of a pass in execution order."""

    def __init__(self) -> None:
        self._sites: list[OpenSite] = []
        self._calls: Counter[tuple[str, str]] = Counter()
        self._by_call: dict[tuple[str, str, int], OpenSite] = {}
        self._run_again: Counter[tuple[str, str]] = Counter()
        self._gradients = _Gradients()

    def __len__(self) -> int:
        return len(self._sites)

    def __iter__(self) -> Iterator[OpenSite]:
        return iter(self._sites)

    def since(self, index: int) -> list[OpenSite]:
        """The sites from this index on."""
        return self._sites[index:]

    def finished(self, multiplied: Container[int] = ()) -> tuple[Site, ...]:
        """The frozen records; `multiplied` are the sites whose output multiplies something."""
        records = (s.finished(multiplied=s.which.index in multiplied) for s in self._sites)
        return tuple(record for record in records if record is not None)

    def add(self, op: str, kind: SiteKind, tensor: torch.Tensor, origin: Origin, frame: ModuleFrame) -> OpenSite | None:
        """Reduce an output and watch for its gradient; None for an empty tensor."""
        packed = pack_signal(tensor)
        if packed is None:
            return None
        self._followed(origin, op)
        which = OperationOutput(
            index=len(self._sites),
            path=frame.path,
            module_class=type(frame.module).__name__,
            op=op,
            kind=kind,
            call=self._calls[frame.path, op],
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            parameters=tuple(sorted(origin.parameters)),
            inputs=origin.sites,
        )
        site = OpenSite(which, packed)
        self._calls[frame.path, op] += 1
        self._by_call[which.path, op, which.call] = site
        self._sites.append(site)
        self._watch_gradient(site, tensor)
        return site

    def _followed(self, origin: Origin, op: str) -> None:
        for index in origin.sites:
            if index >= 0 and not self._sites[index].follower:
                self._sites[index].follower = op
                self._sites[index].follower_factor = origin.factors.get(index, origin.factor)
                self._sites[index].follower_bent = origin.bent

    def run_again(self, op: str, tensor: torch.Tensor, frame: ModuleFrame) -> None:
        """An operation runs a second time, as checkpointing does during the backward: watch for its gradient there."""
        site = self._by_call.get((frame.path, op, self._run_again[frame.path, op]))
        if site is not None and tuple(tensor.shape) == site.which.shape:
            self._run_again[frame.path, op] += 1
            if site.backward is None:
                self._watch_gradient(site, tensor)

    def _watch_gradient(self, site: OpenSite, tensor: torch.Tensor) -> None:
        if not tensor.requires_grad or tensor.is_leaf:
            return
        gradients = self._gradients

        def reduce(gradient: torch.Tensor) -> None:
            with torch._C.DisableTorchFunction():
                if is_signal(gradient):
                    site.backward = gradients.packed(gradient)

        tensor.register_hook(reduce)  # type: ignore[no-untyped-call]


class _Gradients:
    """Reduces gradients; one that a sum hands on as it is to what it adds is reduced once."""

    def __init__(self) -> None:
        self._last: weakref.ref[torch.Tensor] | None = None
        self._version, self._look = 0, torch.empty(0)
        self._packed: Packed | TensorStats | None = None

    def packed(self, gradient: torch.Tensor) -> Packed | TensorStats | None:
        """The numbers of a gradient: those of the last one where it is that one, and holds what it held."""
        if gradient.is_cuda:  # to compare would make it wait
            return pack_signal(gradient)
        look = strided(gradient, _LOOK)
        same = self._last is not None and self._last() is gradient and self._version == gradient._version
        if not same or not torch.equal(look, self._look):  # a kernel of somebody else's may write and not count it
            self._packed = pack_signal(gradient)
            self._last, self._version, self._look = weakref.ref(gradient), gradient._version, look.clone()
        return self._packed
