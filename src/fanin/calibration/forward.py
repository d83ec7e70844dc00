"""The pass: a function mode that finds every weighted operation and multiplies its product before it adds the bias.

Only outputs are multiplied: no weight changes in the pass, and everything downstream sees the corrected signal, so one
forward pass is enough whatever the depth. Module hooks would miss functional calls and weights that are used twice.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch.overrides import TorchFunctionMode

from fanin.calibration.agreed import agreed_size
from fanin.calibration.center import Centred, centred
from fanin.calibration.operand import Box, Made, WeightedCall, box_of, joined, weighted_call
from fanin.calibration.statistic import Size, Statistic, rms_of, size_of
from fanin.calibration.subject import Subject
from fanin.errors import CalibrationError, CaptureError
from fanin.graph.roles.data import Part
from fanin.measure.calls import Call
from fanin.measure.frames import ModuleFrames
from fanin.measure.kinds import KINDS
from fanin.measure.origins import Living
from fanin.measure.quantities.attention import attention_of
from fanin.measure.record import AttentionRecord
from fanin.measure.sampling import is_signal
from fanin.memory import ran_out
from fanin.model.calling import call
from fanin.model.cures import cure_of_forward, cure_of_memory
from fanin.model.eager import open_functions
from fanin.model.operations import FACTS, is_attribute, is_inplace, unordered_name
from fanin.model.trees import tensors_in

__all__ = ["CalibratingPass", "Judge", "Key", "Use", "run_forward"]

Key = tuple[str, Box]  # a parameter and which part of it; () for all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One output of one part of a weight, before it is multiplied.

    Attributes:
        subject: the weight.
        part: which of its parts; None for all of it, or for a piece that the model cuts out.
        box: the part as a range of each axis; () for all of it.
        module: path of the module that runs the operation.
        op: the operation.
        place: which use of the captured pass it is; None where it is none.
        size: what it measures without the bias.
        output: the numbers.
        batch: number of samples in the batch.
        added: the tensor that the operation adds, and the parameters that this is made of.
        input_rms: size of what the operation reads; 0 where it is not needed.
    """

    subject: Subject
    part: Part | None
    box: Box
    module: str
    op: str
    place: int | None
    size: Size
    output: torch.Tensor
    batch: int | None
    added: torch.Tensor | None
    bias: frozenset[str]
    input_rms: float

    @property
    def key(self) -> Key:
        """What has one factor."""
        return self.subject.name, self.box


class Judge(Protocol):
    """Who decides on the factor of each use, in the order of the forward pass."""

    def __call__(self, use: Use) -> float:
        """The factor."""

    def passed_over(self, name: str, module: str, op: str, why: str) -> None:
        """A weight whose output cannot be judged."""

    def attended(self, module: str, scores: AttentionRecord) -> None:
        """A softmax over attention scores, which stay as they are."""

    def centred(self, found: Centred) -> None:
        """A bias that now takes the mean of each channel off."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the name of an operation says of it.

    Attributes:
        name: whichever of two operands comes first.
        is_fact: it reads a property or an attribute of a tensor.
        writes: it overwrites its first argument.
        attends: it may be a softmax over scores.
    """

    name: str
    is_fact: bool
    writes: bool
    attends: bool


def _kind_of(func: Callable[..., Any]) -> _Kind:
    name = unordered_name(func)
    return _Kind(name, name in FACTS or is_attribute(func), is_inplace(func), KINDS.get(name) == "attention")


class CalibratingPass(TorchFunctionMode):
    """Finds the weighted operations of a forward pass and asks a judge for the factor of each.

    Args:
        model: the model.
        subjects: its weights by first qualified name.
        judge: who decides.
        batch: number of samples, None if unknown.
        statistic: how outputs are measured.
        center: put minus the mean of each channel into biases.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        subjects: Mapping[str, Subject],
        judge: Judge,
        *,
        batch: int | None,
        statistic: Statistic,
        center: bool = False,
        group: Any = None,
    ) -> None:
        super().__init__()
        self._center, self._group = center, group
        self.frames: ModuleFrames = ModuleFrames(model)
        self._judge, self._batch, self._statistic = judge, batch, statistic
        self._known: Living[Made] = Living(Made())
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self._kinds: dict[Callable[..., Any], _Kind] = {}
        self._subjects = subjects
        self._tensors = {name: s.slot.tensor for name, s in subjects.items()}
        self._holders = {part: s for s in subjects.values() if s.slot.behind for part in s.slot.behind.parts}
        own = dict(model.named_parameters())
        self._written = _Written(own.values())
        for name, parameter in own.items():
            self._known[parameter] = Made(parameters=frozenset((name,)))

    def note_inputs(self, inputs: Any) -> None:
        """These tensors carry the signal."""
        for tensor in tensors_in(inputs):
            self._known[tensor] = Made(data=True)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look at everything that runs inside; parameters that it writes into are put back."""
        module = torch.nn.modules.module
        handles = [
            module.register_module_forward_pre_hook(lambda m, _: self.frames.enter(m, 0)),
            module.register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            with open_functions(), self:
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._written.put_back()

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self.frames.leave(raised=output is None and sys.exc_info()[1] is not None)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation; of one that applies a weight, multiply its product."""
        given = dict(kwargs or {})
        kind = self._kinds.get(func)
        if kind is None:
            kind = self._kinds[func] = _kind_of(func)
        name = kind.name
        if kind.is_fact:
            return self._view(func(*args, **given), args)
        if kind.writes or "out" in given:
            self._written.before(args[:1] if kind.writes else (), given)
        if kind.attends:
            self._look_at_scores(name, args, given)
        found = weighted_call(func, name, args, given, self._known)
        if found is None:
            output = func(*args, **given)
            self._note(name, args, given, output)
            return output
        output = self._applied(found)
        for tensor in tensors_in(output, 2):
            self._known[tensor] = Made(data=True)
        return output

    def _view(self, output: Any, args: tuple[Any, ...]) -> Any:
        """`x.T` and `x.data` are tensors of the same making."""
        if isinstance(output, torch.Tensor) and args and isinstance(args[0], torch.Tensor) and output is not args[0]:
            self._known[output] = self._known[args[0]]
        return output

    def _look_at_scores(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Tell the judge of a softmax over scores, or of an attention that torch computes at once."""
        first = next(tensors_in((args, kwargs), 2), None)
        if first is None or not args or not is_signal(first) or (name == "softmax" and not self._known[first].scores):
            return
        try:
            scores = attention_of(Call(op=name, kind="attention", args=args, kwargs=kwargs, batch=self._batch))
        except (RuntimeError, IndexError):  # a mask or shapes that only the model itself understands
            return
        if scores is not None:
            self._judge.attended(self.frames.current.path, scores)

    def _note(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        made = joined(name, self._known.of(tensors_in((args, kwargs))))
        for tensor in tensors_in(output, 2):
            self._known[tensor] = made
        if name == "setitem" and args and isinstance(args[0], torch.Tensor):
            self._known[args[0]] = made

    # ------------------------------------------------------------------ one weighted operation
    def _applied(self, found: WeightedCall) -> Any:
        """The result of an operation, its product multiplied."""
        subject, box, why = self._subject(found)
        result = found.product()
        product = next(tensors_in(result, 2), None)  # a bag of embeddings comes with its counts
        if subject is None or product is None or not is_signal(product):
            for name in sorted({self._holder(p) for p in found.made.parameters}):
                self._judge.passed_over(name, self.frames.current.path, found.op, why or _why_odd(product))
            return result if product is None or result is not product else found.finished(product)
        with torch.no_grad() if torch.is_grad_enabled() else _AS_IT_IS:
            place, factor = self._multiply(found, subject, box, product)
            if self._center and factor != 1.0:
                product.mul_(factor)
                factor = 1.0
            done = self._centred(found, subject, place, product).finished(product, factor)
        return done if result is product else result

    def _centred(self, found: WeightedCall, subject: Subject, place: int | None, product: torch.Tensor) -> WeightedCall:
        """The call with a bias that takes the mean of each channel off, where that is asked for and can be written."""
        bias = self._subjects.get(next(iter(found.bias), "")) if self._center and len(found.bias) == 1 else None
        if bias is None or found.added is None or bias.fixed is not None or subject.fixed is not None:
            return found
        if subject.is_reused or subject.is_normed(place) or bias.slot.behind is not None or not product.dim():
            return found
        if bias.slot.shape != (product.shape[found.channel],):
            return found
        made = centred(found, bias.name, product, self.frames.current.path)
        if made is None:
            return found
        self._judge.centred(made)
        return replace(found, added=made.values.to(found.added.dtype).reshape(found.added.shape))

    def _multiply(
        self, found: WeightedCall, subject: Subject, box: Box, product: torch.Tensor
    ) -> tuple[int | None, float]:
        """Multiply each part of the product: which use of the captured pass it is, and the factor that is left to do.

        That of the whole product is left to whoever adds the bias.
        """
        if subject.assignment.role == "attn_bias":  # scores are left alone
            return None, 1.0
        path = self.frames.current.path
        use = (subject.name, path, found.op)
        place = subject.place(path, found.op, self._seen[use])
        self._seen[use] += 1
        for part, own, view in _pieces(subject, box, product, found.channel):
            own_size = size_of(view, batch=self._batch, channel=found.channel, statistic=self._statistic)
            size = agreed_size(own_size, self._group, view.device)
            factor = self._judge(
                Use(
                    subject=subject,
                    part=part,
                    box=own,
                    module=path,
                    op=found.op,
                    place=place,
                    size=size,
                    output=view,
                    batch=self._batch,
                    added=found.added,
                    bias=found.bias,
                    input_rms=max(map(rms_of, found.data), default=0.0) if size.value < _TINY else 0.0,
                )
            )
            if view is product:
                return place, factor
            if factor != 1.0:
                view.mul_(factor)
        return place, 1.0

    def _holder(self, parameter: str) -> str:
        return self._holders[parameter].name if parameter in self._holders else parameter

    def _subject(self, found: WeightedCall) -> tuple[Subject | None, Box, str]:
        """The weight whose factor multiplies the product, and which part of it; or why there is none."""
        if found.why_not:
            return None, (), found.why_not
        names = {self._holder(p) for p in found.made.parameters}
        if len(names) > 1:
            return None, (), f"the weight there is made of several parameters ({', '.join(sorted(names)[:3])})"
        subject = self._subjects.get(next(iter(names)))
        if subject is None:
            return None, (), "it is no parameter of the plan"
        if subject.slot.behind is None and not found.made.linear:
            return None, (), "what the model makes of it is no multiple of it"
        box = box_of(found.weight, self._tensors[subject.name])
        return (None, (), _CUT) if box is None else (subject, box, "")


_AS_IT_IS = contextlib.nullcontext()
_TINY = 1e-9  # outputs above it are not compared with what the operation reads
_CUT = "a part of it is used that is no range along its axes"


def _why_odd(product: torch.Tensor | None) -> str:
    """Why an output cannot be measured."""
    if product is not None and torch._C._functorch.is_functorch_wrapped_tensor(product):
        return "it runs inside torch.func, where an output is not seen whole"
    return "its output holds no real floating numbers that could be measured"


def _pieces(
    subject: Subject, box: Box, product: torch.Tensor, channel: int
) -> Iterator[tuple[Part | None, Box, torch.Tensor]]:
    """The parts of an output that have factors of their own, with the range of the weight that each comes from."""
    layout, shape = subject.assignment.layout, subject.slot.shape
    whole = not box and layout is not None and len(layout.out_axes) == 1 and len(shape) > layout.out_axes[0]
    units = shape[layout.out_axes[0]] if whole and layout is not None else 0
    if not subject.parts or not whole or layout is None or not product.dim() or product.shape[channel] != units:
        yield None, box, product
        return
    for part in subject.parts:
        ends = (part.start, part.start + part.size)
        own = tuple(ends if axis == layout.out_axes[0] else (0, n) for axis, n in enumerate(shape))
        yield part, own, product.narrow(channel, part.start, part.size)


class _Written:
    """Copies of the parameters that a forward pass writes into, each made just before its first write."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._of: dict[int, list[torch.Tensor]] = {}
        for p in parameters:
            with contextlib.suppress(NotImplementedError, RuntimeError):  # sparse: no single storage
                self._of.setdefault(p.untyped_storage()._cdata, []).append(p)
        self._copies: list[tuple[torch.Tensor, torch.Tensor]] = []

    def before(self, targets: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """An operation is about to run that writes into these."""
        for tensor in (*targets, *tensors_in(kwargs.get("out"))):
            if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided:
                for p in self._of.pop(tensor.untyped_storage()._cdata, ()):
                    self._copies.append((p.detach(), p.detach().clone()))

    def put_back(self) -> None:
        """The numbers as they were."""
        with torch.no_grad():
            for parameter, copy in self._copies:
                parameter.copy_(copy)
        self._copies.clear()


def run_forward(running: CalibratingPass, model: torch.nn.Module, inputs: Any) -> None:
    """One forward pass under a judge.

    Raises:
        CaptureError: the model raised; the message says where.
        CalibrationError: an output holds NaN or infinity.
    """
    running.note_inputs(inputs)
    with torch.no_grad(), running.watching():
        try:
            call(model, inputs)
        except (CaptureError, CalibrationError):
            raise
        except (Exception, SystemExit) as error:
            where = running.frames.where or "the model itself"
            cure = cure_of_forward(model, inputs, running.frames.innermost)
            words = (
                cure_of_memory(where)
                if ran_out(error)
                else f"the forward pass raised {type(error).__name__} in {where}: {error}. {cure}"
            )
            raise CaptureError(f"{words} Nothing was written.") from error
