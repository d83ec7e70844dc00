"""The check of the first batch that a model trains on, with the very arguments of that forward."""

from __future__ import annotations

import hashlib
import inspect
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from fanin.checking.check import check
from fanin.checking.job import optimizer_of
from fanin.checking.report import Report
from fanin.errors import ArgumentError
from fanin.memory import as_array
from fanin.model.trees import tensors_in
from fanin.model.untouched import working
from fanin.model.wrappers import unwrapped
from fanin.rules.base import Optimizer
from fanin.rules.config import Config
from fanin.rules.finding import Severity
from fanin.text.files import assert_place
from fanin.text.names import one_line
from fanin.watching.gone import NoCopy
from fanin.watching.judging import eased

__all__ = ["FirstBatch", "batch_hash"]

Done = Callable[["FirstBatch"], None]
_NEVER = "no forward in training mode ran, and none in eval mode after a backward pass"


def batch_hash(inputs: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of all tensors of a batch, in order.

    Args:
        inputs: a tensor, or tuples, lists and mappings with tensors inside.

    Example:
        >>> import torch
        >>> batch_hash((torch.ones(2), {"mask": torch.zeros(1)})) == batch_hash([torch.ones(2), torch.zeros(1)])
        True
    """
    digest = hashlib.sha256()
    for tensor in tensors_in(inputs):
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(as_array(plain.view(torch.uint8)).data if plain.numel() else b"")
    return digest.hexdigest()[:16]


class FirstBatch:
    """A model whose first training forward is checked, and the report of it.

    A model may be trained in eval mode, for instance to keep its batch norms as they are. Only a backward pass shows
    that, so the forward after it is checked, in eval mode.

    The hooks are removed when the check has run, by `remove`, and when this object is gone.

    Attributes:
        report: of the first batch; None until a forward that is trained on has run.
        reason: why the batch could not be checked; "" where it could.
        optimizer: what the rules knew of the optimizer.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Any = None,
        loss: Callable[..., Any] | None = None,
        *,
        config: Config,
        fail_on: Severity | None = None,
        out: Any = None,
        done: Done | None = None,
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            raise ArgumentError(f"model is a {type(model).__name__}; a torch.nn.Module is needed")
        if out is not None:
            from fanin.report.formats import format_of

            format_of(out)
            assert_place(out)
        optimizer_of(optimizer)
        self.report: Report | None = None
        self.reason: str = ""
        self.optimizer: Optimizer | None = None
        self._given = optimizer
        self._loss, self._config, self._fail_on, self._out, self._done = loss, config, fail_on, out, done
        self._begun = False
        self._gradient = _Gradient()
        self._finalizer = weakref.finalize(self, _remove, _hooked(model, weakref.ref(self)), self._gradient)

    def remove(self) -> None:
        """Take the hooks off."""
        self._finalizer()
        if not self._begun:
            self.reason = _NEVER

    def meet(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check a forward with gradients if the model is trained by it: in training mode, or once one was."""
        if module.training or self._gradient.seen:
            inside = unwrapped(module)
            self.run(inside, _as_inputs(inside, args, kwargs))
        else:
            self._gradient.wait(module)

    def run(self, module: torch.nn.Module, inputs: Any, loss: Callable[..., Any] | None = None) -> Report | None:
        """Check a module on these inputs, once; integrations call it with what they train on.

        Raises:
            CheckFailedError: a finding is at or above `fail_on`.
        """
        self._begun, self.reason = True, ""
        self.remove()
        self.optimizer = optimizer_of(self._given)
        try:
            # As a function: one that holds nothing of the module is named by W902 once it made steps.
            given = None if self._given is None else lambda _: self._given
            report = check(module, inputs, loss=loss or self._loss, optimizer=given, config=self._config)
            header = replace(report.result.header, batch_hash=batch_hash(inputs))
            self.report = Report(eased(replace(report.result, header=header)))
        except Exception as error:  # a model that cannot be checked is trained all the same
            self.reason = f"the first batch could not be checked: {type(error).__name__}: {one_line(error)}"
        finally:
            torch.clear_autocast_cache()
        self._tell()
        return self.report

    def _tell(self) -> None:
        if self.report is not None and self._out is not None:
            self.report.save(self._out)
        if self._done is not None:
            self._done(self)
        if self.report is not None and self._fail_on is not None:
            self.report.raise_for_findings(self._fail_on)


class _Hook(NoCopy):
    """A forward pre-hook that holds neither the model nor its owner."""

    def __init__(self, owner: weakref.ref[FirstBatch]) -> None:
        self._owner = owner

    def __call__(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling() or working() or not torch.is_grad_enabled():
            return
        first = self._owner()
        if first is not None:
            first.meet(module, args, kwargs)


class _Gradient(NoCopy):
    """Whether a backward pass has reached a parameter of a model; it holds neither the model nor its owner."""

    def __init__(self) -> None:
        self.seen = False
        self._handles: list[Any] = []

    def wait(self, module: torch.nn.Module) -> None:
        """Put a hook on each trained parameter, once."""
        if not self._handles:
            plain = [p for p in module.parameters() if p.requires_grad and p.is_leaf]
            self._handles = [p.register_post_accumulate_grad_hook(self) for p in plain]  # type: ignore[no-untyped-call]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __call__(self, _: torch.Tensor) -> None:
        self.seen = True


def _hooked(model: torch.nn.Module, owner: weakref.ref[FirstBatch]) -> Any:
    """The handle of the hook."""
    return model.register_forward_pre_hook(_Hook(owner), with_kwargs=True, prepend=True)


def _as_inputs(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The arguments of a forward as `fanin.check` takes them: a tuple where all are positional, else a dict."""
    if not kwargs:
        return tuple(args)
    if not args:
        return dict(kwargs)
    return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)


def _remove(*handles: Any) -> None:
    for handle in handles:
        handle.remove()
