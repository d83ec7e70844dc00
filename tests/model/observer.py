"""A second, slow and obvious look at everything a model and the process hold, to compare before with after."""

from __future__ import annotations

import array
import atexit
import builtins
import collections
import contextvars
import ctypes
import decimal
import functools
import gc
import locale
import logging
import math
import os
import pathlib
import queue
import random
import signal
import socket
import sys
import threading
import types
import warnings
import weakref

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

LRU = type(functools.lru_cache(lambda: None))


def bits(tensor):
    if tensor.is_nested:
        return b"".join(map(bits, tensor.unbind()))
    if tensor.layout is not torch.strided:
        return bits(tensor.detach().to_dense())
    return tensor.detach().clone().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


class Group(list):
    """Parts that the observer puts together itself; its identity says nothing."""

    __slots__ = ()


class Observer:
    """What is reachable, as text by path: identities of objects, contents of containers, bits of numbers."""

    def __init__(self, roots):
        self.found, self.alive = {}, []
        self._seen = set()
        for name, root in roots.items():
            self._look(name, root)

    def _look(self, path, thing):
        if isinstance(thing, (str, bytes, int, float, bool, complex, type(None), types.ModuleType)):
            self.found[path] = repr(thing)
            return
        self.found[path] = f"{type(thing).__name__} {0 if type(thing) is Group else id(thing)}"
        if isinstance(thing, torch.Size):
            self.found[path] = repr(thing)
            return
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        self.alive.append(thing)
        for name, child in self._parts(thing):
            self._look(f"{path}.{name}", child)

    def _parts(self, thing):
        if isinstance(thing, torch.Tensor):
            yield from self._of_tensor(thing)
        elif isinstance(thing, np.ndarray):
            yield "mask", repr(getattr(thing, "_mask", None))
            yield "values", Group(thing.flat if thing.dtype == object else (thing.tobytes(), thing.ctypes.data))
        elif isinstance(thing, dict):
            yield from ((f"[{i}:{k!r:.30}]", Group((k, v))) for i, (k, v) in enumerate(list(thing.items())))
        elif isinstance(thing, (list, tuple, collections.deque)):
            yield from ((f"[{i}]", v) for i, v in enumerate(thing))
        elif isinstance(thing, (set, frozenset)):
            yield "ids", Group(sorted(map(id, thing)))
        elif isinstance(thing, LRU):
            yield "entries", Group(sorted(id(r) for r in gc.get_referents(thing) if not isinstance(r, (dict, type))))
            yield "size", thing.cache_info().currsize
            # keys of its table only: the values are links, and new links may hold the same entries
            yield from ((f"dict{i}", Group(d)) for i, d in enumerate(gc.get_referents(thing)) if type(d) is dict)
        elif isinstance(thing, torch.Generator):
            yield "state", bits(thing.get_state())
        elif isinstance(thing, np.random.Generator):
            yield "state", repr(thing.bit_generator.state)
        elif isinstance(thing, np.random.RandomState):
            yield "state", repr([str(s) for s in thing.get_state()])
        elif isinstance(thing, random.Random):
            yield "state", repr(thing.getstate())
        elif isinstance(thing, type(threading.Lock())):
            yield "held", thing.locked()
        elif isinstance(thing, functools.partial):
            yield "args", thing.args
        elif isinstance(thing, types.MethodType):
            yield "self", thing.__self__
        elif isinstance(thing, weakref.ref):
            yield "target", thing()
        elif isinstance(thing, contextvars.ContextVar):
            yield "value", thing.get("nothing")
        elif isinstance(thing, types.FunctionType):
            yield "closure", Group(self._cell(c) for c in thing.__closure__ or ())
            yield "defaults", Group((thing.__defaults__, thing.__kwdefaults__))
        elif isinstance(thing, (bytearray, array.array, ctypes.Array)):
            yield "bytes", bytes(thing)
        elif isinstance(thing, queue.SimpleQueue):
            yield "size", thing.qsize()
            waiting = next(x for x in gc.get_referents(thing) if type(x) is list)
            yield "waiting", Group(waiting[-thing.qsize() :])
        elif type(thing).__name__ == "list_iterator":
            yield "left", thing.__length_hint__()
        yield from self._attributes(thing)

    @staticmethod
    def _cell(cell):
        try:
            return cell.cell_contents
        except ValueError:
            return "empty"

    def _attributes(self, thing):
        if isinstance(thing, type):
            if thing.__module__.startswith("stateful"):
                skip = ("__dict__", "__weakref__", "__doc__", "__abstractmethods__", "_abc_impl")
                yield from ((k, v) for k, v in vars(thing).items() if k not in skip)
            return
        if isinstance(thing, (torch.Tensor, np.ndarray)) or type(thing).__module__ in ("builtins", "_thread"):
            if isinstance(thing, types.FunctionType):
                yield "own", thing.__dict__
            if not isinstance(thing, threading.local):
                return
        own = getattr(thing, "__dict__", None)
        if isinstance(own, dict):
            yield "dict", own
        for cls in type(thing).__mro__:
            for slot in vars(cls).get("__slots__", ()):
                if slot not in ("__dict__", "__weakref__"):
                    yield slot, getattr(thing, slot, "unset")

    def _of_tensor(self, tensor):
        if isinstance(tensor, FakeTensor) or tensor.is_meta:
            yield "bits", "none"
        else:
            yield "bits", bits(tensor)
            strided = tensor.layout is torch.strided and not tensor.is_nested
            shape = (tensor.data_ptr(), str(tensor.shape), str(tensor.stride())) if strided else ()
            yield "place", Group((*shape, str(tensor.dtype)))
        yield "autograd", Group((tensor.requires_grad, id(tensor.grad_fn) if tensor.grad_fn is not None else 0))
        yield "version", tensor._version
        yield "hooks", len(tensor._backward_hooks or ())
        if tensor.is_leaf:
            yield "grad", tensor.grad


def of_libraries():
    """What models here may set on modules, classes and objects of libraries."""
    functional, linear = torch.nn.functional, torch.nn.Linear
    logger, thread = logging.getLogger("torch"), threading.current_thread()
    holders = [torch, functional, linear, torch.nn.Module, torch.Tensor, functional.softmax, math, builtins, np]
    return Group(
        Group((f"{holder!r}.{name}", value))
        for holder in (*holders, logger, thread)
        for name, value in vars(holder).items()
        if name.startswith("memo_")
    )


def umask():
    now = os.umask(0)
    os.umask(now)
    return now


def process():
    """Settings and generators of the process."""
    return {
        "rng": (bits(torch.get_rng_state()), random.getstate(), str(np.random.get_state())),  # noqa: NPY002
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "autocast": [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")],
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "modes": (torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()),
        "folder": str(pathlib.Path.cwd()),
        "output": sys.stdout,
        "print options": (dict(vars(torch._tensor_str.PRINT_OPTS)), np.get_printoptions()),
        "numpy errors": np.geterr(),
        "filters": list(warnings.filters),
        "environment": (dict(os.environ), ctypes.CDLL(None).getenv(b"STATEFUL_MODELS")),
        "cudnn": torch.backends.cudnn.benchmark,
        "made modules": sys.modules.get("memo_made"),
        "hooks": (
            len(torch.nn.modules.module._global_forward_hooks),
            len(torch.nn.modules.module._global_forward_pre_hooks),
        ),
        "questions": (torch.nn.functional.has_torch_function, torch.autograd.has_torch_function),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "collects": gc.isenabled(),
        "signals": {n: signal.getsignal(n) for n in signal.valid_signals()},
        "hook": sys.unraisablehook,
        "exit calls": atexit.register,
        "collector": (gc.get_threshold(), sys.gettrace(), sys.getprofile(), threading.excepthook),
        "umask": umask(),
        "locale": locale.setlocale(locale.LC_ALL),
        "switch interval": sys.getswitchinterval(),
        "decimals": decimal.getcontext().prec,
        "sockets": socket.getdefaulttimeout(),
        "denormals": bool(torch.tensor([1e-39]) * 1.0 == 0),
    }


def observe(space, model, *more):
    """Everything of a case: its module's globals, its model, the process."""
    names = {k: v for k, v in vars(space).items() if not k.startswith("__") and k != "LATEST"}
    seen = Observer(
        {"model": model, **names, "of libraries": of_libraries(), **{f"more{i}": m for i, m in enumerate(more)}}
    )
    return {"names": sorted(names), **seen.found, **{f"process {k}": repr(v) for k, v in process().items()}}, seen.alive


def differences(before, after):
    """Paths at which two observations differ."""
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def fakes():
    """Fake tensors that are alive anywhere in the process and that some Python object refers to."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [weakref.ref(o) for o in gc.get_objects() if type(o) is FakeTensor]
    if not found:
        return []
    gc.unfreeze()  # what refers to them may be as old as the libraries
    held = [r for r in found if gc.get_referrers(r())]
    gc.freeze()
    return held
