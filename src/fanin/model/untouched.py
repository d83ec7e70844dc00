"""Leave a model and the process bit for bit as they were, whatever happens in between."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["untouched"]

_CONTAINERS = (dict, OrderedDict, list, set, deque)


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Undo, on leaving, whatever happened to the model's modules and to the random number generators.

    Restored: every module's attributes (training flags, caches, hooks, parameters and buffers *by identity*, one level
        of lists and
    dicts), buffers and flags of TorchScript modules by value, the generators of Python, NumPy and torch (all devices in
    use), the
    switches that a capture turns. Values of parameters and buffers need no copy: the recorder hands out stand-ins.
    """
    with ExitStack() as stack:
        for restore in (*_module_states(model), *_generators(), *_switches()):
            stack.callback(restore)
        yield


def _module_states(model: Any) -> Iterator[Callable[[], None]]:
    import torch

    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            yield _script_state(module)
        else:
            yield _plain_state(module)


def _plain_state(module: Any) -> Callable[[], None]:
    attributes = dict(module.__dict__)
    contents = [(c, _copy(c)) for c in attributes.values() if type(c) in _CONTAINERS]

    def restore() -> None:
        module.__dict__.clear()
        module.__dict__.update(attributes)
        for container, content in contents:
            container.clear()
            container.extend(content) if isinstance(container, (list, deque)) else container.update(content)

    return restore


def _copy(container: Any) -> Any:
    return deque(container, container.maxlen) if isinstance(container, deque) else type(container)(container)


def _script_state(module: Any) -> Callable[[], None]:
    import torch

    training = module.training
    buffers = [(b, b.clone()) for b in module.buffers(recurse=False) if not b.is_meta]

    def restore() -> None:
        if module.training != training:
            module.training = training
        with torch.no_grad():
            for buffer, content in buffers:
                if not torch.equal(buffer, content):
                    buffer.copy_(content)

    return restore


def _generators() -> Iterator[Callable[[], None]]:
    import torch

    python, cpu = random.getstate(), torch.get_rng_state()
    yield lambda: random.setstate(python)
    yield lambda: torch.set_rng_state(cpu)
    if "numpy" in sys.modules:
        import numpy as np

        legacy = np.random.get_state()  # noqa: NPY002 (the legacy generator is the one that models draw from)
        yield lambda: np.random.set_state(legacy)  # noqa: NPY002
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states = torch.cuda.get_rng_state_all()
        yield lambda: torch.cuda.set_rng_state_all(states)


def _switches() -> Iterator[Callable[[], None]]:
    import torch

    fast, dtype = torch.backends.mha.get_fastpath_enabled(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield lambda: torch.backends.mha.set_fastpath_enabled(fast)
    yield lambda: torch.set_default_dtype(dtype)
    if deterministic:
        yield lambda: torch.use_deterministic_algorithms(True)
