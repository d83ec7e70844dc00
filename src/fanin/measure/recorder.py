"""The instrument: a function mode that reduces every operation's output as it appears, and its gradient by a hook.

Module hooks on gradients break with in-place activations (pytorch#61519) and miss functional calls; a function mode
sees each operation where it happens and `Tensor.register_hook` sees its gradient whatever comes after. Numbers are
taken inside the pass: a tensor kept for later may have been overwritten by then, and would cost its memory.

The recorder keeps the order of operations, the modules that run and where tensors come from. What is measured of an
operation is listed in `quantities/table.py`.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fanin.measure.calls import Call
from fanin.measure.elementwise import ElementwiseUses
from fanin.measure.frames import ModuleFrame, ModuleFrames
from fanin.measure.input_readers import InputReaders
from fanin.measure.kinds import CHANNEL_FIRST, kind_of
from fanin.measure.layouts import note_layouts
from fanin.measure.nonfinite import makes_nonfinite
from fanin.measure.origins import CONSTANT, Origin, Origins, join
from fanin.measure.products import Products
from fanin.measure.quantities.table import of_module, of_pass, of_site, read_before
from fanin.measure.record import SiteKind
from fanin.measure.sampling import is_signal, rms
from fanin.measure.sites import OpenSite, Sites
from fanin.model.eager import open_functions
from fanin.model.nested import refuse_nested
from fanin.model.operations import (
    CONTRACTIONS,
    DROPOUT,
    ESCAPES,
    FACTS,
    OF_A_SHAPE,
    VIEWS,
    is_attribute,
    unordered_name,
)
from fanin.model.roles import Seen
from fanin.model.trees import tensors_in

__all__ = ["PassRecorder"]

_NORM_CLASS = re.compile(r"norm", re.IGNORECASE)
_PASSES = VIEWS | DROPOUT
_IN_PROPORTION = _PASSES | {"mul", "div", "neg", "add", "sub", "rsub", "sum", "mean"}


class PassRecorder(TorchFunctionMode):
    """Reduces every operation of a forward, and the gradients that come back.

    Attributes:
        batch: number of samples, None if unknown.
        origins: where every living tensor comes from.
        frames: which modules run.
        sites: the outputs that were reduced.
        found: what belongs to the pass and to no site (calls of loss functions), by the name of the quantity.
        used: parameters that an operation read together with the signal.
        gates: those of them that multiply the signal.
        products: which buffers and sites multiply what.
        elementwise: which parameters multiply a signal number by number.
        input_readers: what reads the model's inputs first.
        effective: root mean square of what a weighted operation read in the place of a parameter that it is made of.
        seen: role and layout of parameters, as the operations that read them tell.
        escaped: sites whose values left torch.
        first_nonfinite: module and operation of the first NaN or infinity that no site shows.
        num_operations: calls of torch in the forward.
        born: the tensors that these calls made.
        reads_older_graph: an operation read a tensor that was computed before the pass and keeps its graph.
    """

    def __init__(self, model: torch.nn.Module, *, batch: int | None) -> None:
        super().__init__()
        self.batch = batch
        self.origins: Origins = Origins()
        self.frames: ModuleFrames = ModuleFrames(model)
        self.sites: Sites = Sites()
        self.found: dict[str, list[Any]] = {}
        self.used: set[str] = set()
        self.gates: set[str] = set()
        self.products: Products = Products()
        self.elementwise: ElementwiseUses = ElementwiseUses()
        self.input_readers: InputReaders = InputReaders()
        self.effective: dict[str, float] = {}
        self.seen: dict[str, Seen] = {}
        self._parameters = dict(model.named_parameters())
        self.escaped: set[int] = set()
        self.first_nonfinite: tuple[str, str] | None = None
        self.num_operations: int = 0
        self.born: list[weakref.ref[torch.Tensor]] = []
        self.reads_older_graph: bool = False
        self._without_grad = False  # a weighted operation ran under no_grad: checkpointing may run it again
        self._replaying = False
        for name, parameter in model.named_parameters():
            self.origins[parameter] = Origin(parameters=frozenset((name,)))
        for name, buffer in model.named_buffers():
            self.origins[buffer] = Origin(buffers=frozenset((name,)))

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record everything that runs inside."""
        module = torch.nn.modules.module
        handles = [
            module.register_module_forward_pre_hook(self._enter),
            module.register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            with open_functions(gradients=True), self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def replaying(self) -> Iterator[None]:
        """Attach gradient hooks to operations that checkpointing runs a second time, during the backward."""
        if not self._without_grad:
            yield
            return
        self._replaying = True
        with self.recording():
            yield

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        self.frames.enter(module, len(self.sites))

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        frame = self.frames.leave(raised=output is None)  # a module that raised leaves without output
        if frame is not None and not self._replaying and isinstance(output, torch.Tensor):
            with torch._C.DisableTorchFunction():
                self._written_out_norm(frame, args, output)

    def _written_out_norm(self, frame: ModuleFrame, args: Any, output: torch.Tensor) -> None:
        """A norm written out in elementary operations (most RMSNorms) becomes one site."""
        module = frame.module
        if not _NORM_CLASS.search(type(module).__name__) or next(module.children(), None) is not None:
            return
        if any(s.which.kind == "norm" for s in self.sites.since(frame.first_site)) or not args or not is_signal(output):
            return
        source = args[0] if isinstance(args[0], torch.Tensor) else None
        if source is None or source.shape != output.shape:
            return
        names = join(self.origins.of(module.parameters(recurse=False))).parameters
        origin = Origin(parameters=names, data=True, sites=self.origins[source].sites)
        site = self._add("rms_norm", "norm", output, origin, frame, grad_enabled=torch.is_grad_enabled())
        if site is not None and source.dim() >= 2:
            site.measured.update(of_module("norm", module, source))
            inputs = self.origins[output].inputs  # of one size from here on
            self.origins[output] = Origin(data=True, sites=(site.which.index,), axis=-1, op="rms_norm", inputs=inputs)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and reduce what it gives."""
        kwargs = dict(kwargs or {})
        name = unordered_name(func)
        if name in ESCAPES and args and isinstance(args[0], torch.Tensor):
            self.escaped.update(self.origins[args[0]].sites)
        if name in FACTS or is_attribute(func):
            return self._attribute(func(*args, **kwargs), args)
        if self._replaying:
            return self._replay(name, func(*args, **kwargs))
        self.num_operations += 1
        given = list(tensors_in((args, kwargs)))
        self.reads_older_graph |= self.origins.older_graph(given)
        origins = self.origins.of(given)
        joined = CONSTANT if name in OF_A_SHAPE else join(origins)
        kind = kind_of(name, origins, joined)
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        made_by = self.origins[first].op
        call = Call(
            op=name, kind=kind, args=args, kwargs=kwargs, batch=self.batch, unit_axis=joined.axis, made_by=made_by
        )
        if joined.data and first is not None and (before := read_before(call)):
            call = replace(call, before=before)
        output = func(*args, **kwargs)
        grad_enabled = torch.is_grad_enabled()
        with torch.no_grad():
            self._note_born(output, given)
            self._after(call, given, joined, output, grad_enabled=grad_enabled)
        return output

    def _attribute(self, output: Any, args: tuple[Any, ...]) -> Any:
        """`x.T` and `x.data` are tensors of the same origin."""
        if isinstance(output, torch.Tensor) and args and isinstance(args[0], torch.Tensor) and output is not args[0]:
            self.origins[output] = self.origins[args[0]]
        return output

    def _note_born(self, output: Any, given: list[torch.Tensor]) -> None:
        """Of what an operation gives: what it did not get, as it does where it writes in place."""
        self.born += [weakref.ref(t) for t in tensors_in(output, 2) if all(t is not g for g in given)]

    def _after(self, call: Call, given: list[torch.Tensor], joined: Origin, output: Any, *, grad_enabled: bool) -> None:
        """Note what the operation gave, where that comes from, and what it read."""
        name, kind, origins = call.op, call.kind, self.origins.of(given)
        if call.before and isinstance(output, torch.Tensor):
            of_model = len(origins) > 1 and (bool(origins[1].parameters) or max(origins[1].sites, default=-1) >= 0)
            for quantity, value in of_pass(replace(call, output=output, sites=joined.sites, of_model=of_model)):
                self.found.setdefault(quantity, []).append(value)
        joined = self.products.note(call, origins, joined)
        if joined.data and isinstance(output, torch.Tensor):
            self.elementwise.note(call, given, origins, output)
        if kind == "weight":
            note_layouts(call, self.origins, self._parameters, self.seen)
            self._note_effective(call, given, origins)
        if kind == "weight" and not joined.data:
            joined = Origin(parameters=joined.parameters, data=True)
        if joined.parameters and joined.data:
            self.used |= joined.parameters
            self.gates |= joined.parameters if name == "mul" else frozenset()
        products = name in CONTRACTIONS and sum(o.data for o in origins) >= 2
        axis = (1 if name in CHANNEL_FIRST else -1) if kind in ("weight", "norm") else joined.axis
        if joined.inputs:
            joined = self.input_readers.passed_on(name, given, origins, joined)
        reads = bool(joined.inputs) and kind == "weight"
        inputs = frozenset[str]() if reads else joined.inputs
        for position, tensor in enumerate(tensors_in(output, 2)):
            if joined.data:
                refuse_nested((tensor,))
            site = None
            if joined.data and position == 0 and is_signal(tensor):
                site = self._reduced(call, tensor, joined, grad_enabled=grad_enabled)
            sites = joined.sites if site is None else (site.which.index,)
            scores = (joined.scores or products) and site is None
            factor, op = joined.factor if site is None else 1.0, joined.op if name in _PASSES else name
            if reads and site is not None:
                self.input_readers.read(given, origins, site.which.index)
            own = Origin(
                data=True,
                sites=sites,
                axis=axis,
                scores=scores,
                op=op,
                factor=factor,
                bent=site is None and (joined.bent or name not in _IN_PROPORTION),
                inputs=inputs,
                apart={} if reads else joined.apart,
            )
            changed = joined.changed or name not in _PASSES
            constant = Origin(parameters=joined.parameters, buffers=joined.buffers, op=name, changed=changed)
            self.origins[tensor] = own if joined.data else constant
        if name == "broadcast_tensors":  # each of its outputs is one of its inputs
            self.origins.pass_on(tensors_in(output, 2), origins)
        if name == "setitem" and call.args and isinstance(call.args[0], torch.Tensor):
            self.origins[call.args[0]] = replace(joined, scores=False, op="")

    def _note_effective(self, call: Call, given: list[torch.Tensor], origins: Sequence[Origin]) -> None:
        """The size of weights that are made of one parameter each by more than a view."""
        for tensor, origin in zip(given, origins, strict=False):
            made = not origin.data and len(origin.parameters) == 1 and origin.changed
            name = next(iter(origin.parameters), "")
            if made and name not in self.effective and is_signal(tensor):
                self.effective[name] = rms(tensor)

    def _reduced(self, call: Call, tensor: torch.Tensor, origin: Origin, *, grad_enabled: bool) -> OpenSite | None:
        """The site of an output, None where the operation makes none."""
        if call.kind == "other":
            self._look_for_nonfinite(call, tensor)
            return None
        site = self._add(call.op, call.kind, tensor, origin, self.frames.current, grad_enabled=grad_enabled)
        if site is not None:
            site.measured.update(of_site(replace(call, output=tensor, unit_axis=origin.axis)))
        return site

    def _add(
        self, op: str, kind: SiteKind, tensor: torch.Tensor, origin: Origin, frame: ModuleFrame, *, grad_enabled: bool
    ) -> OpenSite | None:
        site = self.sites.add(op, kind, tensor, origin, frame)
        if site is not None and site.which.parameters and not grad_enabled:
            self._without_grad |= not tensor.requires_grad or tensor.is_leaf
        return site

    def _look_for_nonfinite(self, call: Call, tensor: torch.Tensor) -> None:
        """Of an operation that is no site: note it where it gives the first NaN or infinity."""
        if self.first_nonfinite is None and makes_nonfinite(call, tensor.detach()):
            self.first_nonfinite = (self.frames.current.path, call.op)

    def _replay(self, name: str, output: Any) -> Any:
        first = next(tensors_in(output, 2), None)
        if first is not None:
            self.sites.run_again(name, first, self.frames.current)
        return output
