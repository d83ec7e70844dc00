"""Settings and generators of the whole process, read so that they can be put back."""

from __future__ import annotations

import contextlib
import gc
import locale
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._tensor_str import PRINT_OPTS
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack, _pop_mode

from fanin.model.code_names import is_library
from fanin.model.eager import composite_questions

__all__ = ["Setting", "generators_kept", "kept_generators", "kept_settings", "seed_generators"]

_AUTOCAST = ("cpu", "cuda", "xpu", "mps")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the process: how to read it and how to set it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def kept_settings() -> Iterator[tuple[str, Callable[[], None]]]:
    """Name of each setting of the process, and what puts it back as it is now (without effect where it is)."""
    device = Setting("default device", _default_device, torch.set_default_device)
    yield device.name, _putter(device, _default_device())  # itself a mode, so before the others
    yield "torch's mode stacks", _kept_modes()
    for setting in (*_settings(), *_autocast(), *_composites(), *_of_python(), *_of_numpy()):
        try:
            value = setting.read()
        except Exception:  # a mix of torch's old and new switches refuses to be read; it refuses to be set, too
            continue
        yield setting.name, _putter(setting, value)


def _putter(setting: Setting, value: Any) -> Callable[[], None]:
    def put_back() -> None:
        if setting.read() != value:
            setting.write(value)

    return put_back


def _kept_modes() -> Callable[[], None]:
    """Function and dispatch modes that were entered and, because of an interrupt, not left."""
    functions, dispatch = torch._C._len_torch_function_stack(), _get_current_dispatch_mode_stack()

    def put_back() -> None:
        while torch._C._len_torch_function_stack() > functions:
            torch._C._pop_torch_function_stack()
        for mode in reversed(_get_current_dispatch_mode_stack()):
            if not any(mode is m for m in dispatch):
                _pop_mode(getattr(mode, "_mode_key", None))

    return put_back


def _settings() -> tuple[Setting, ...]:
    backends = torch.backends
    return (
        Setting("grad mode", torch.is_grad_enabled, torch._C._set_grad_enabled),
        Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype),
        Setting("number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting("deterministic algorithms", _deterministic, _set_deterministic),
        Setting("matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        Setting("cuDNN benchmark", torch._C._get_cudnn_benchmark, torch._C._set_cudnn_benchmark),
        Setting("cuDNN deterministic", torch._C._get_cudnn_deterministic, torch._C._set_cudnn_deterministic),
        Setting("cuDNN", torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
        Setting("TF32 in cuDNN", torch._C._get_cudnn_allow_tf32, torch._C._set_cudnn_allow_tf32),
        Setting("flash attention", torch._C._get_flash_sdp_enabled, torch._C._set_sdp_use_flash),
        Setting("efficient attention", torch._C._get_mem_efficient_sdp_enabled, torch._C._set_sdp_use_mem_efficient),
        Setting("plain attention", torch._C._get_math_sdp_enabled, torch._C._set_sdp_use_math),
        Setting("attention's fast path", backends.mha.get_fastpath_enabled, backends.mha.set_fastpath_enabled),
        Setting("oneDNN", torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
        Setting("warnings each time", torch.is_warn_always_enabled, torch.set_warn_always),
        Setting("torch's print options", lambda: dict(vars(PRINT_OPTS)), lambda v: vars(PRINT_OPTS).update(v)),
        Setting("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    )


def _default_device() -> Any:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _deterministic() -> tuple[bool, bool, bool]:
    fill: bool = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn, fill


def _set_deterministic(value: tuple[bool, bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])
    torch.utils.deterministic.fill_uninitialized_memory = value[2]  # type: ignore[attr-defined]


def _autocast() -> Iterator[Setting]:
    yield Setting("autocast's cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled)
    for device in _AUTOCAST:
        yield Setting(
            f"autocast on {device}",
            lambda d=device: (torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)),  # type: ignore[misc]
            lambda v, d=device: _set_autocast(d, *v),  # type: ignore[misc]
        )


def _set_autocast(device: str, enabled: bool, dtype: torch.dtype) -> None:
    torch.set_autocast_enabled(device, enabled)
    torch.set_autocast_dtype(device, dtype)


def _composites() -> Iterator[Setting]:
    """What `eager.open_functions` replaces for a while."""
    for space, name in composite_questions(gradients=True):
        yield Setting(
            f"{space.__name__}.{name}",
            lambda s=space, n=name: getattr(s, n),  # type: ignore[misc]
            lambda v, s=space, n=name: setattr(s, n, v),  # type: ignore[misc]
        )


def _of_python() -> Iterator[Setting]:
    yield Setting("garbage collection", gc.isenabled, lambda on: gc.enable() if on else gc.disable())
    yield Setting("thresholds of garbage collection", gc.get_threshold, lambda value: gc.set_threshold(*value))
    yield Setting("sys.settrace", sys.gettrace, sys.settrace)
    yield Setting("sys.setprofile", sys.getprofile, sys.setprofile)
    yield Setting("threading.excepthook", lambda: threading.excepthook, partial(setattr, threading, "excepthook"))
    yield Setting("flushing of denormal numbers", _flushes, torch.set_flush_denormal)
    yield Setting("thread switch interval", sys.getswitchinterval, sys.setswitchinterval)
    yield Setting("locale", partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL))
    if _UMASK.exists():  # asking the system sets it for a moment, in which other threads may make files
        yield Setting("umask", _umask, os.umask)
    if (sockets := sys.modules.get("socket")) is not None:
        yield Setting("socket timeout", sockets.getdefaulttimeout, sockets.setdefaulttimeout)
    if "decimal" in sys.modules:
        yield Setting("decimal context", _decimals, _set_decimals)
    yield Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit)
    yield Setting("environment variables", _environment, _set_environment)
    yield Setting("working folder", os.getcwd, os.chdir)
    for name in ("stdin", "stdout", "stderr", "excepthook", "displayhook"):
        yield Setting(f"sys.{name}", partial(getattr, sys, name), partial(setattr, sys, name))
    yield Setting("sys.modules", lambda: dict(sys.modules), _forget_made_modules)
    yield Setting("sys.path", lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value))
    yield Setting("warning filters", lambda: list(warnings.filters), _set_filters)


_UMASK = Path("/proc/self/status")
_SMALLEST = 5e-324


_DECIMALS = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimals() -> tuple[Any, ...]:
    context = sys.modules["decimal"].getcontext()
    return tuple(getattr(context, n) for n in _DECIMALS)


def _set_decimals(value: tuple[Any, ...]) -> None:
    context = sys.modules["decimal"].getcontext()
    for name, number in zip(_DECIMALS, value, strict=True):
        setattr(context, name, number)


def _flushes() -> bool:
    """Whether this thread takes numbers too small for full precision as 0."""
    return _SMALLEST * float("1") == 0.0


def _umask() -> int:
    lines = _UMASK.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1], 8) for line in lines if line.startswith("Umask:"))


def _forget_made_modules(value: dict[str, Any]) -> None:
    """Modules that were imported meanwhile stay; those that code made and entered by hand go."""
    for name, module in list(sys.modules.items()):
        made = value.get(name) is not module and getattr(module, "__spec__", None) is None and not is_library(name)
        if made:
            if name in value:
                sys.modules[name] = value[name]
            else:
                del sys.modules[name]


def _environment() -> dict[Any, Any]:
    """The environment as Python keeps it: as bytes where the system does, so that nothing is decoded."""
    return dict(getattr(os.environ, "_data", os.environ))


def _set_environment(kept: dict[Any, Any]) -> None:
    value = {os.fsdecode(name): os.fsdecode(v) for name, v in kept.items()}
    for name in [n for n in os.environ if n not in value]:
        del os.environ[name]
    os.environ.update({n: v for n, v in value.items() if os.environ.get(n) != v})


def _set_filters(value: list[Any]) -> None:
    warnings.filters[:] = value  # type: ignore[index]
    changed = getattr(warnings, "_filters_mutated", None) or getattr(warnings, "_filters_mutated_lock_held", None)
    if changed is not None:
        changed()


def _of_numpy() -> Iterator[Setting]:
    if "numpy" in sys.modules:
        import numpy as np

        options = Setting("NumPy's print options", np.get_printoptions, lambda value: np.set_printoptions(**value))
        yield options
        yield Setting("NumPy's error state", np.geterr, lambda value: np.seterr(**value))


def kept_generators() -> Iterator[tuple[str, Callable[[], None]]]:
    """Name of each random generator of the process, and what puts its state back."""
    python, cpu = random.getstate(), torch.default_generator.get_state()
    yield "Python's random generator", lambda: random.setstate(python)
    yield "torch's generator", lambda: torch.set_rng_state(cpu)
    if "numpy" in sys.modules:
        import numpy as np

        legacy = np.random.get_state()  # noqa: NPY002 (the legacy generator is the one that models draw from)
        yield "NumPy's generator", lambda: np.random.set_state(legacy)  # noqa: NPY002
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states = torch.cuda.get_rng_state_all()
        yield "CUDA's generators", lambda: torch.cuda.set_rng_state_all(states)


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Random generators of the process are afterwards where they were."""
    kept = list(kept_generators())
    try:
        yield
    finally:
        for _, put_back in kept:
            put_back()


def seed_generators(seed: int) -> None:
    """Start every random generator of the process from a seed."""
    # Not torch.manual_seed: with CUDA not yet initialised it would leave a seed waiting for that moment.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed(seed % 2**32)  # noqa: NPY002 (the legacy generator is the one that models draw from)
