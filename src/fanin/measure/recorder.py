"""The instrument: a function mode that reduces every operation's output as it appears.

Hooks that reduce its gradient.

Module hooks on gradients break with in-place activations (pytorch#61519) and miss functional calls; a function mode
sees each operation where it happens and `Tensor.register_hook` sees its gradient whatever comes after. Numbers are
taken inside the pass: a tensor kept for later may have been overwritten by then, and would cost its memory.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from fanin.measure.kinds import BOUNDED, CHANNEL_FIRST, KINDS, RECTIFIERS, SITE_NORMS
from fanin.measure.origins import Flow, Origin, join
from fanin.measure.quantities.activity import activity
from fanin.measure.quantities.attention import attention_from_logits, attention_from_qk
from fanin.measure.quantities.constancy import constant_share
from fanin.measure.quantities.cosine import cosine, token_cosine
from fanin.measure.quantities.moments import Packed, pack, unpack
from fanin.measure.quantities.norm import norm_record
from fanin.measure.quantities.saturation import saturation
from fanin.measure.record import Activity, Attention, Cosine, NormRecord, Saturation, Site, SiteKind, TensorStats
from fanin.measure.sampling import as_samples
from fanin.model.operations import (
    CONTRACTIONS,
    DROPOUT,
    ESCAPES,
    FACTORIES,
    FACTS,
    LOSSES,
    MASKING,
    NORM_CALLS,
    STARTS,
    VIEWS,
    is_attribute,
    unordered_name,
)
from fanin.model.trees import tensors_in

__all__ = ["LossCall", "Recorder"]

_NORM_CLASS = re.compile(r"norm", re.IGNORECASE)
_COSINE_KINDS = frozenset(("weight", "merge", "norm"))


@dataclass(slots=True)
class Draft:
    """A site while the pass is running."""

    index: int
    path: str
    module_class: str
    op: str
    kind: SiteKind
    call: int
    shape: tuple[int, ...]
    dtype: str
    parameters: tuple[str, ...]
    inputs: tuple[int, ...]
    forward: Packed | TensorStats
    backward: Packed | TensorStats | None = None
    follower: str = ""
    activity: Activity | None = None
    saturation: Saturation | None = None
    sample_cosine: Cosine | None = None
    token_cosine: float | None = None
    attention: Attention | None = None
    norm: NormRecord | None = None
    constant_channel_share: float | None = None

    def finished(self) -> Site | None:
        """The frozen record."""
        forward = unpack(self.forward)
        if forward is None:
            return None
        own = {name: getattr(self, name) for name in _COPIED}
        return Site(**own, forward=forward, backward=unpack(self.backward))


_COPIED = tuple(f for f in Draft.__dataclass_fields__ if f not in ("forward", "backward"))


@dataclass(slots=True)
class LossCall:
    """A loss function that was called: its name, first arguments as packed statistics, and what made its input."""

    op: str
    reduction: str
    prediction: torch.Tensor | None
    targets: torch.Tensor | None
    weighted: bool
    made_by: str
    ignore_index: int = -100
    value: torch.Tensor | None = None


@dataclass(slots=True)
class _Frame:
    path: str
    module: torch.nn.Module
    first_site: int = 0
    inside: list[int] = field(default_factory=list)


class Recorder(TorchFunctionMode):
    """Reduces every operation of a forward, and the gradients that come back."""

    def __init__(self, model: torch.nn.Module, *, batch: int | None) -> None:
        super().__init__()
        self.flow = Flow()
        self.batch = batch
        self.drafts: list[Draft] = []
        self.loss_calls: list[LossCall] = []
        self.called: set[int] = set()
        self.used: set[str] = set()
        self.gates: set[str] = set()
        self.escaped: set[int] = set()
        self.first_nonfinite: tuple[str, str] | None = None
        self.skipped: Counter[str] = Counter()
        self.watch_loss = True
        self.num_operations = 0
        self._paths = {id(m): name.replace("_orig_mod.", "") for name, m in model.named_modules()}
        self._frames: list[_Frame] = [_Frame("", model)]
        self._grad_enabled = True
        self._without_grad = False  # a weighted operation ran under no_grad: checkpointing may run it again
        self._failing: _Frame | None = None
        self._calls: Counter[tuple[str, str]] = Counter()
        self._replayed: Counter[tuple[str, str]] | None = None
        self._by_key: dict[tuple[str, str, int], Draft] = {}
        for name, parameter in model.named_parameters():
            self.flow[parameter] = Origin(parameters=frozenset((name.replace("_orig_mod.", ""),)))

    @property
    def where(self) -> str:
        """The module that raised, or the one that runs."""
        frame = self._failing or self._frames[-1]
        return f"{frame.path} ({type(frame.module).__name__})" if frame.path else ""

    # -- entering and leaving
    # ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record everything that runs inside."""
        module = torch.nn.modules.module
        handles = [
            module.register_module_forward_pre_hook(self._enter),
            module.register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            with _transparent_functions(), self:
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
        self._replayed = Counter()
        with self.recording():
            yield

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        path = self._paths.get(id(module), self._frames[-1].path)
        self.called.add(id(module))
        self._failing = None
        self._frames.append(_Frame(path, module, len(self.drafts)))

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if len(self._frames) < 2:
            return
        frame = self._frames.pop()
        if output is None and self._failing is None:
            self._failing = frame  # a module that raised leaves without output, the innermost first
        if self._replayed is None and isinstance(output, torch.Tensor):
            self._composite_norm(frame, args, output)

    def _composite_norm(self, frame: _Frame, args: Any, output: torch.Tensor) -> None:
        """A norm written out in elementary operations (most RMSNorms) becomes one site."""
        module = frame.module
        if not _NORM_CLASS.search(type(module).__name__) or next(module.children(), None) is not None:
            return
        if any(d.kind == "norm" for d in self.drafts[frame.first_site :]) or not args or not _is_signal(output):
            return
        source = args[0] if isinstance(args[0], torch.Tensor) else None
        if source is None or source.shape != output.shape:
            return
        eps = next((float(v) for k, v in vars(module).items() if "eps" in k and isinstance(v, float)), 0.0)
        names = join(self.flow.of(module.parameters(recurse=False))).parameters
        origin = self.flow[source]
        self._frames.append(frame)
        draft = self._site("rms_norm", "norm", output, Origin(parameters=names, data=True, sites=origin.sites))
        self._frames.pop()
        if draft is not None and source.dim() >= 2:
            draft.norm = norm_record(source, kind="rms_norm", training=module.training, eps=eps)
            self.flow[output] = Origin(data=True, sites=(draft.index,), axis=-1, op="rms_norm")

    # -- one operation
    # ----------------------------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and reduce what it gives."""
        kwargs = dict(kwargs or {})
        name = unordered_name(func)
        if name in ESCAPES and args and isinstance(args[0], torch.Tensor):
            self.escaped.update(self.flow[args[0]].sites)
        if name in FACTS or is_attribute(func):
            return self._attribute(func(*args, **kwargs), args)
        if self._replayed is not None:
            return self._replay(name, func(*args, **kwargs))
        self.num_operations += 1
        read = list(tensors_in((args, kwargs)))
        origins = self.flow.of(read)
        joined = join(origins)
        before = self._before(name, args, kwargs, joined)
        output = func(*args, **kwargs)
        self._grad_enabled = torch.is_grad_enabled()
        with torch.no_grad():
            self._after(name, args, kwargs, origins, joined, output, before)
        return output

    def _attribute(self, output: Any, args: tuple[Any, ...]) -> Any:
        """`x.T` and `x.data` are tensors of the same origin."""
        if isinstance(output, torch.Tensor) and args and isinstance(args[0], torch.Tensor) and output is not args[0]:
            self.flow[output] = self.flow[args[0]]
        return output

    def _before(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], origin: Origin) -> Any:
        """What must be read before an in-place operation overwrites it."""
        x = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if x is None or not origin.data or not _is_signal(x):
            return None
        if name in RECTIFIERS:
            return self._cosine(x)
        if name in SITE_NORMS:
            return _norm_of(name, args, kwargs)
        if name in LOSSES and self.watch_loss:
            self._loss_call(name, args, kwargs)
        return None

    def _after(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        origins: list[Origin],
        joined: Origin,
        output: Any,
        before: Any,
    ) -> None:
        if name in LOSSES and self.loss_calls and isinstance(output, torch.Tensor):
            self.loss_calls[-1].value = output.detach().mean()
        kind = self._kind(name, origins, joined, args)
        if kind == "weight" and not joined.data:
            joined = Origin(parameters=joined.parameters, data=True)
        if joined.parameters and joined.data:
            self.used |= joined.parameters
            self.gates |= joined.parameters if name == "mul" else frozenset()
        products = name in CONTRACTIONS and sum(o.data for o in origins) >= 2
        axis = (1 if name in CHANNEL_FIRST else -1) if kind in ("weight", "norm") else joined.axis
        for position, tensor in enumerate(tensors_in(output, 2)):
            draft = None
            if joined.data and _is_signal(tensor) and position == 0:
                draft = self._site(name, kind, tensor, joined) if kind != "other" else None
                if kind == "other":
                    self._glance(name, tensor)
            if draft is not None:
                self._extras(draft, name, args, kwargs, tensor, joined, before)
            sites = (draft.index,) if draft is not None else joined.sites
            scores = (joined.scores or products) and draft is None
            own = Origin(
                data=True, sites=sites, axis=axis, scores=scores, op=name if name not in _PASSES else joined.op
            )
            self.flow[tensor] = own if joined.data else Origin(parameters=joined.parameters, op=name)
        if name == "setitem" and args and isinstance(args[0], torch.Tensor):
            self.flow[args[0]] = Origin(
                data=joined.data, parameters=joined.parameters, sites=joined.sites, axis=joined.axis
            )

    def _kind(self, name: str, origins: list[Origin], joined: Origin, args: tuple[Any, ...]) -> SiteKind:
        if name in CONTRACTIONS:
            reads = bool(joined.parameters) and (joined.data or name in STARTS)
            return "weight" if reads else "other"
        kind = KINDS.get(name, "other")
        if kind == "merge":
            return "merge" if len(joined.sites) >= 2 and sum(bool(o.sites) for o in origins) >= 2 else "other"
        if name == "softmax":
            return "attention" if joined.scores else "other"
        return kind

    def _glance(self, name: str, tensor: torch.Tensor) -> None:
        """Operations that are no site are only asked whether they are where the first NaN or infinity came from."""
        if self.first_nonfinite is None and name not in _NO_SOURCE:
            norm = torch.linalg.vector_norm(tensor.detach())
            if not bool(torch.isfinite(norm)) and not bool(torch.isfinite(tensor.detach()).all()):
                self.first_nonfinite = (self._frames[-1].path, name)

    def _site(self, name: str, kind: SiteKind, tensor: torch.Tensor, origin: Origin) -> Draft | None:
        packed = pack(tensor)
        if packed is None:
            return None
        frame = self._frames[-1]
        for parent in (p for p in origin.sites if p >= 0):
            if not self.drafts[parent].follower:
                self.drafts[parent].follower = name
        draft = Draft(
            index=len(self.drafts),
            path=frame.path,
            module_class=type(frame.module).__name__,
            op=name,
            kind=kind,
            call=self._calls[frame.path, name],
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            parameters=tuple(sorted(origin.parameters)),
            inputs=origin.sites,
            forward=packed,
        )
        self._calls[frame.path, name] += 1
        self._by_key[draft.path, name, draft.call] = draft
        self.drafts.append(draft)
        self._watch_gradient(draft, tensor)
        return draft

    def _watch_gradient(self, draft: Draft, tensor: torch.Tensor) -> None:
        if not tensor.requires_grad or tensor.is_leaf:
            self._without_grad |= bool(draft.parameters) and not self._grad_enabled
            return

        def reduce(gradient: torch.Tensor) -> None:
            with torch._C.DisableTorchFunction():
                if _is_signal(gradient):
                    draft.backward = pack(gradient)

        tensor.register_hook(reduce)  # type: ignore[no-untyped-call]

    def _replay(self, name: str, output: Any) -> Any:
        path = self._frames[-1].path
        for tensor in tensors_in(output, 2):
            draft = self._by_key.get((path, name, self._replayed[path, name] if self._replayed is not None else 0))
            if draft is not None and tuple(tensor.shape) == draft.shape:
                if self._replayed is not None:
                    self._replayed[path, name] += 1
                if draft.backward is None:
                    self._watch_gradient(draft, tensor)
            break
        return output

    # -- what some kinds are asked besides
    # --------------------------------------------------------------------------------------

    def _extras(
        self,
        draft: Draft,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensor: torch.Tensor,
        origin: Origin,
        before: Any,
    ) -> None:
        if draft.kind in _COSINE_KINDS:
            draft.sample_cosine = self._cosine(tensor)
            draft.token_cosine = self._token_cosine(tensor)
        if name in RECTIFIERS:
            likeness = before.mean if isinstance(before, Cosine) else None
            axis = origin.axis if origin.axis is not None else (1 if tensor.dim() >= 4 else -1)
            draft.activity = activity(tensor, axis=axis, num_samples=self._num_samples(tensor), cosine=likeness)
        if name in BOUNDED:
            low, high = BOUNDED[name]
            draft.saturation = saturation(tensor, low=low, high=high)
        if isinstance(before, NormRecord):
            draft.norm = before
        if draft.kind == "attention":
            draft.attention = _attention_of(name, args, kwargs)
        if draft.kind == "weight" and tensor.dim() >= 2:
            draft.constant_channel_share = constant_share(tensor, axis=1 if name in CHANNEL_FIRST else -1)

    def _num_samples(self, x: torch.Tensor) -> int:
        return self.batch or (x.shape[0] if x.dim() else 1)

    def _cosine(self, x: torch.Tensor) -> Cosine | None:
        samples = as_samples(x, self.batch)
        return None if samples is None else cosine(samples)

    def _token_cosine(self, x: torch.Tensor) -> float | None:
        samples = as_samples(x, self.batch) if x.dim() == 3 else None
        if samples is None or samples.dim() != 3 or samples.shape[1] < 8 or samples.shape[2] < 8:
            return None
        return token_cosine(samples[0])

    def _loss_call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = dict(zip(("input", "target"), args, strict=False)) | kwargs
        prediction, targets = bound.get("input"), bound.get("target")
        if not isinstance(prediction, torch.Tensor):
            return
        reduction = kwargs.get("reduction", next((a for a in args[2:] if isinstance(a, str)), None))
        if reduction is None:
            reduction = next((_REDUCTIONS[a] for a in args[2:] if isinstance(a, int) and a in _REDUCTIONS), "mean")
        ignore = next((a for a in args[3:] if isinstance(a, int) and not isinstance(a, bool) and a < 0), -100)
        self.loss_calls.append(
            LossCall(
                op=name,
                reduction=str(_REDUCTIONS.get(reduction, reduction)),
                prediction=prediction.detach(),
                targets=targets.detach() if isinstance(targets, torch.Tensor) else None,
                weighted=any(isinstance(a, torch.Tensor) for a in args[2:]) or kwargs.get("weight") is not None,
                made_by=self.flow[prediction].op,
                ignore_index=ignore,
            )
        )


_REDUCTIONS: dict[Any, str] = {0: "none", 1: "mean", 2: "sum"}
# What passes values on or writes constants over them: never where a NaN or infinity came from.
_PASSES = VIEWS | DROPOUT
_NO_SOURCE = _PASSES | MASKING | FACTORIES


def _is_signal(x: torch.Tensor) -> bool:
    """A plain floating tensor with values: what can be reduced."""
    return (
        x.is_floating_point()
        and x.layout is torch.strided
        and x.numel() > 1
        and x.device.type != "meta"
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
    )


@contextlib.contextmanager
def _transparent_functions() -> Iterator[None]:
    """Let Python functions of torch run their bodies.

    So that what is inside (attention's products) is seen operation by operation.
    """

    def no(*args: Any) -> bool:
        return False

    with contextlib.ExitStack() as stack:
        for namespace in (torch.nn.functional, torch.functional, torch.autograd):
            for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
                if hasattr(namespace, name):
                    stack.enter_context(mock.patch.object(namespace, name, no))
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        yield


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _norm_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NormRecord | None:
    call = NORM_CALLS[name]
    eps = _argument(args, kwargs, call.eps, "eps", 1e-5)
    training = True if call.training is None else bool(_argument(args, kwargs, call.training, "training", True))
    groups = 1 if call.groups is None else int(_argument(args, kwargs, call.groups, "num_groups", 1))
    return norm_record(args[0], kind=name, training=training, eps=float(eps or 1e-7), groups=groups)


def _attention_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Attention | None:
    if name == "softmax":
        axis = _argument(args, kwargs, 1, "dim", -1)
        return attention_from_logits(args[0]) if axis in (-1, args[0].dim() - 1) else None
    q, k = _argument(args, kwargs, 0, "query", None), _argument(args, kwargs, 1, "key", None)
    return attention_from_qk(
        q,
        k,
        mask=_argument(args, kwargs, 3, "attn_mask", None),
        causal=bool(_argument(args, kwargs, 5, "is_causal", False)),
        factor=kwargs.get("scale"),
    )
