# ruff: noqa: E501
"""Models that keep something of their forward pass, wherever Python lets them: one source text for each case.

A case is a place (where it is kept) and a value (what is kept): a table that depends on shapes alone, the signal
itself, or a slice of a buffer. Each is a module of its own, with real globals.
"""

from __future__ import annotations

import itertools
import sys
import types

VALUES = {
    "table": "torch.outer(torch.arange(x.shape[0]).float(), 2.0 ** -torch.arange(8).float()).sin()",
    "signal": "h * 1.5",
    "buffer": "self.frequencies[: x.shape[0]].cos()",
}

# name -> (source at module level, source in __init__, source in forward); V is the value, t what is added to the signal
PLACES = {
    "lru_cache": (
        "@functools.lru_cache\ndef memo(n):\n    return LATEST()\n",
        "",
        "global LATEST\nLATEST = lambda: V\nt = memo(x.shape[0])",
    ),
    "lru_cache_of_a_method": (
        "",
        "",
        "self.latest = lambda: V\nt = self.memo(x.shape[0])",
    ),
    "cache_without_bound": (
        "@functools.cache\ndef memo(n, *, scale=1):\n    return LATEST()\n",
        "",
        "global LATEST\nLATEST = lambda: V\nt = memo(x.shape[0], scale=2)",
    ),
    "module_dict": ("MEMO = {}\n", "", "t = MEMO.setdefault(('t', x.shape[0]), V)"),
    "module_list": ("MEMO = []\n", "", "MEMO.append(V)\nt = MEMO[-1]"),
    "module_global": ("MEMO = None\n", "", "global MEMO\nMEMO = V if MEMO is None else MEMO\nt = MEMO"),
    "class_dict": ("", "", "t = type(self).memo.setdefault(x.shape[0], V)"),
    "class_attribute": ("", "", "Net.last = V\nt = Net.last"),
    "by_id_on_the_class": ("", "", "t = Net.memo.setdefault(id(self), V)"),
    "closure_dict": (
        "def remember():\n    kept = {}\n    def memo(key, value):\n        return kept.setdefault(key, value)\n    return memo\n"
        "memo = remember()\n",
        "",
        "t = memo(x.shape[0], V)",
    ),
    "closure_variable": (
        "def remember():\n    kept = None\n    def memo(value):\n        nonlocal kept\n        kept = value if kept is None else kept\n"
        "        return kept\n    return memo\nmemo = remember()\n",
        "",
        "t = memo(V)",
    ),
    "default_argument": (
        "def memo(key, value, kept={}):\n    return kept.setdefault(key, value)\n",
        "",
        "t = memo(1, V)",
    ),
    "keyword_default": (
        "def memo(value, *, kept=[]):\n    kept.append(value)\n    return kept[0]\n",
        "",
        "t = memo(V)",
    ),
    "function_attribute": ("def memo(value):\n    memo.last = value\n    return memo.last\n", "", "t = memo(V)"),
    "attribute": ("", "self.last = None", "self.last = V if self.last is None else self.last\nt = self.last"),
    "list": ("", "self.kept = []", "self.kept.append(V)\nt = self.kept[-1]"),
    "dict_of_lists_of_dicts": (
        "",
        "self.kept = {'a': [{'b': {}}]}",
        "self.kept['a'][0]['b'][x.shape[0]] = t = V",
    ),
    "held_object": (
        "class Cache:\n    def __init__(self):\n        self.k = []\n",
        "self.cache = Cache()",
        "self.cache.k.append(V)\nt = self.cache.k[-1]",
    ),
    "attribute_of_a_held_object": ("class Cache:\n    k = None\n", "self.cache = [Cache()]", "self.cache[0].k = t = V"),
    "slots": (
        "class Cache:\n    __slots__ = ('k', 'v')\n",
        "self.cache = Cache()\nself.cache.k = None",
        "self.cache.k = self.cache.v = t = V",
    ),
    "frozen_dataclass": (
        "@dataclasses.dataclass(frozen=True)\nclass Cache:\n    kept: dict = dataclasses.field(default_factory=dict)\n",
        "self.cache = Cache()",
        "self.cache.kept[1] = t = V",
    ),
    "slotted_dataclass": (
        "@dataclasses.dataclass(slots=True)\nclass Cache:\n    k: object = None\n    n: int = 0\n",
        "self.cache = (Cache(),)",
        "self.cache[0].k = t = V\nself.cache[0].n += 1",
    ),
    "cached_property": (
        "class Tables:\n    make = None\n    @functools.cached_property\n    def table(self):\n        return self.make()\n",
        "self.tables = Tables()",
        "self.tables.make = lambda: V\nt = self.tables.table",
    ),
    "singleton": (
        "class Registry:\n    _one = None\n    @classmethod\n    def get(cls):\n        if cls._one is None:\n            cls._one = cls()\n"
        "            cls._one.kept = {}\n        return cls._one\n",
        "",
        "t = Registry.get().kept.setdefault(x.shape[0], V)",
    ),
    "class_decorator_registry": (
        "REGISTRY = {}\ndef register(f):\n    REGISTRY[f.__name__] = [f, {}]\n    return f\n@register\ndef rotary(v):\n    return v\n",
        "",
        "f, kept = REGISTRY['rotary']\nt = kept.setdefault(1, f(V))",
    ),
    "weak_keys": ("MEMO = weakref.WeakKeyDictionary()\n", "", "t = MEMO.setdefault(self, V)"),
    "weak_values": (
        "class Box:\n    pass\nMEMO = weakref.WeakValueDictionary()\n",
        "self.box = Box()",
        "MEMO['box'] = self.box\nself.box.t = t = V",
    ),
    "weak_reference": ("class Box:\n    t = None\nBOX = Box()\nREF = weakref.ref(BOX)\n", "", "REF().t = t = V"),
    "context_variable": (
        "VAR = contextvars.ContextVar('VAR', default=None)\n",
        "",
        "VAR.set(V if VAR.get() is None else VAR.get())\nt = VAR.get()",
    ),
    "dict_in_a_context_variable": (
        "VAR = contextvars.ContextVar('VAR')\nVAR.set({})\n",
        "",
        "t = VAR.get().setdefault(1, V)",
    ),
    "thread_local": ("LOCAL = threading.local()\nLOCAL.kept = {}\n", "", "LOCAL.kept[1] = LOCAL.last = t = V"),
    "deque": ("", "self.kept = collections.deque(maxlen=2)", "self.kept.append(V)\nt = self.kept[-1]"),
    "set": ("", "self.kept = set()", "t = V\nself.kept.add(t)"),
    "defaultdict": ("", "self.kept = collections.defaultdict(list)", "self.kept[1].append(V)\nt = self.kept[1][-1]"),
    "ordered_dict": ("KEPT = collections.OrderedDict(a=1, b=2)\n", "", "KEPT.move_to_end('a')\nKEPT['c'] = t = V"),
    "user_dict": ("class Memo(collections.UserDict):\n    pass\n", "self.kept = Memo()", "self.kept[1] = t = V"),
    "subclass_of_dict": (
        "class Memo(dict):\n    def __setitem__(self, k, v):\n        super().__setitem__(k, v)\n        self.last = v\n",
        "self.kept = Memo()",
        "self.kept[1] = t = V",
    ),
    "simple_namespace": ("", "self.kept = types.SimpleNamespace(n=0)", "self.kept.n += 1\nself.kept.t = t = V"),
    "partial": (
        "def put(kept, value):\n    kept.append(value)\n    return kept[-1]\n",
        "self.put = functools.partial(put, [])",
        "t = self.put(V)",
    ),
    "bound_method_of_another_object": (
        "class Sink:\n    def __init__(self):\n        self.kept = []\n    def __call__(self, v):\n        self.kept.append(v)\n        return v\n",
        "self.sink = Sink().__call__",
        "t = self.sink(V)",
    ),
    "hook": (
        "",
        "self.seen = seen = []\nself.e.register_forward_hook(lambda m, a, out: seen.append(out))",
        "t = V",
    ),
    "module_in_a_plain_list": (
        "class Part(nn.Module):\n    def forward(self, v):\n        self.last = v\n        return v\n",
        "self.parts = [Part()]",
        "t = self.parts[0](V)",
    ),
    "new_buffer": ("", "", "self.register_buffer('cos', V, persistent=False)\nt = self.cos"),
    "object_array": ("", "self.kept = np.empty(2, object)", "t = V\nself.kept[0] = t"),
    "instance_dict_replaced": ("class Box:\n    pass\n", "self.box = Box()", "t = V\nself.box.__dict__ = {'t': t}"),
    "name_mangled": ("", "self.__kept = {}", "self.__kept[1] = t = V"),
    "property_with_a_setter": (
        "",
        "self._p = None",
        "self.kept = V\nt = self.kept",
    ),
    "imported_in_the_body": ("", "", "import sys\nmemo = sys.modules[__name__]\nmemo.LAST = V\nt = memo.LAST"),
    "computed_global": ("", "", "globals()[f'memo_{x.shape[0]}'] = t = V"),
    "computed_attribute_of_a_module": (
        "import sys\n",
        "",
        "setattr(sys.modules[__name__], f'memo_{x.shape[0]}', V)\nt = globals()[f'memo_{x.shape[0]}']",
    ),
    "module_made_by_hand": (
        "import sys\n",
        "",
        "m = types.ModuleType('memo_made')\nsys.modules['memo_made'] = m\nm.t = t = V",
    ),
    "static_method": ("", "", "t = Net.put(V)"),
    "generator_over_a_list": (
        "KEPT = []\ndef turns(v):\n    KEPT.append(v)\n    yield v\n",
        "",
        "t = next(turns(V))",
    ),
}

_SOURCE = """
import array, collections, contextvars, ctypes, dataclasses, functools, queue, random, threading, types, warnings, weakref
import numpy as np
import torch
from torch import nn
{globals}
class Net(nn.Module):
    memo = {{}}
    last = None
    held = []
    def __init__(self):
        super().__init__()
        self.e, self.o = nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("frequencies", torch.linspace(0.1, 1.0, 32).reshape(4, 8))
        {init}
    @functools.lru_cache
    def memoised(self, n):
        return self.latest()
    def memo_of(self, n):
        return self.memoised(n)
    @property
    def kept_(self):
        return self._p
    @staticmethod
    def put(v):
        Net.held.append(v)
        return v
    def forward(self, x):
        h = torch.relu(self.e(x))
        {forward}
        return self.o(h + t)
"""


def _indented(text, spaces):
    return text.replace("\n", "\n" + " " * spaces)


def build(name, globals_, init, forward):
    """The module of one case and a new model of it."""
    space = types.ModuleType(f"stateful_{name}")
    sys.modules[space.__name__] = space
    source = _SOURCE.format(
        globals=globals_,
        init=_indented(init or "pass", 8),
        forward=_indented(forward, 8),
    )
    exec(compile(source, f"<{space.__name__}>", "exec"), space.__dict__)
    return space, space.Net()


def case(place, value):
    """The module and the model that keeps this value in this place."""
    globals_, init, forward = PLACES[place]
    if place == "lru_cache_of_a_method":
        forward = forward.replace("self.memo(", "self.memo_of(")
    if place == "property_with_a_setter":
        globals_ += "def _set(self, v):\n    self._p = v\n"
        forward = "type(self).kept = property(lambda s: s._p, _set)\n" + forward
    return build(f"{place}_{value}", globals_, init, _with(forward, VALUES[value]))


def library_case(place, value):
    """The module and the model that keeps this value in this place of a library."""
    globals_, init, forward = LIBRARY_PLACES[place]
    return build(f"library_{place}_{value}", globals_, init, _with(forward, VALUES[value]))


def _with(forward, value):
    import re

    return re.sub(r"\bV\b", f"({value})", forward)


# the same, on what belongs to a library; the observer looks there too
LIBRARY_PLACES = {
    "torch": ("", "", "torch.memo_ = t = V"),
    "functional": ("", "", "nn.functional.memo_ = t = V"),
    "class": ("", "", "nn.Linear.memo_ = t = V"),
    "class_of_a_part": ("", "", "type(self.e).memo_ = V\nt = self.e.memo_"),
    "base_class": ("", "", "nn.Module.memo_ = V\nt = self.memo_"),
    "tensor_class": ("", "", "torch.Tensor.memo_ = V\nt = h.memo_"),
    "computed_name": ("", "", "setattr(torch, f'memo_{x.shape[0]}', V)\nt = getattr(torch, f'memo_{x.shape[0]}')"),
    "its_dictionary": ("", "", "vars(torch)['memo_' + str(x.shape[0])] = t = V"),
    "table": ("torch.memo_ = {}\n", "", "t = torch.memo_.setdefault(x.shape[0], V)"),
    "list_of_a_class": ("nn.Linear.memo_ = []\n", "", "nn.Linear.memo_.append(V)\nt = nn.Linear.memo_[-1]"),
    "tensor": ("torch.memo_ = torch.zeros(8)\n", "", "torch.memo_.add_(1)\nt = torch.memo_ + V"),
    "function": ("", "", "nn.functional.softmax.memo_ = t = V"),
    "module_of_python": ("import math\n", "", "math.memo_ = t = V"),
    "builtins": ("", "", "import builtins\nbuiltins.memo_ = V\nt = memo_"),
    "import_in_the_body": ("", "", "from torch.nn import functional as G\nG.memo_ = t = V"),
    "helper": ("def put(holder, v):\n    holder.memo_ = v\n    return v\n", "", "t = put(torch, V)"),
    "held": ("", "self.library = torch.nn.functional", "self.library.memo_ = t = V"),
    "sys_modules": ("import sys\n", "", "sys.modules['torch'].memo_ = t = V"),
    "object": (
        "import scipy.interpolate\n",
        "self.s = scipy.interpolate.interp1d([0, 1], [0, 1])",
        "self.s.memo_ = t = V",
    ),
    "thread": ("", "", "threading.current_thread().memo_ = t = V"),
    "logger": ("import logging\n", "", "logging.getLogger('torch').memo_ = t = V"),
    "deleted": ("torch.memo_ = torch.zeros(8)\n", "", "t = torch.memo_ + V\ndel torch.memo_"),
    "counter": ("nn.Linear.memo_ = 0\n", "", "nn.Linear.memo_ += 1\nt = V * nn.Linear.memo_"),
    "numpy": ("", "", "np.memo_ = t = V"),
}

CASES = list(itertools.product(PLACES, VALUES))

# what a forward can change besides what it keeps: (module level, __init__, forward)
CHANGES = {
    "tensor_attribute_in_place": ("", "self.t = torch.zeros(8)", "self.t.add_(1)\nt = self.t"),
    "tensor_in_a_list_in_place": ("", "self.t = [torch.zeros(8)]", "self.t[0].add_(1)\nt = self.t[0]"),
    "tensor_two_levels_deep": ("", "self.t = {'a': (torch.zeros(8),)}", "self.t['a'][0][0] = 3\nt = self.t['a'][0]"),
    "tensor_of_a_held_object": (
        "class B:\n    pass\n",
        "self.b = B()\nself.b.t = torch.zeros(8)",
        "self.b.t.add_(h.detach().mean(0))\nt = 0",
    ),
    "tensor_of_a_module_in_place": ("T = torch.zeros(8)\n", "", "T.add_(1)\nt = T"),
    "tensor_in_autograd": ("", "self.t = torch.zeros(8)", "t = self.t.clone()\nself.t.add_(h.mean(0))"),
    "array_in_place": ("", "self.a = np.zeros(3)", "self.a += 1\nt = float(self.a.sum())"),
    "array_of_a_module": ("A = np.zeros((2, 2))\n", "", "A[0] = A[0] + 1\nt = float(A.sum())"),
    "array_under_a_tensor": (
        "A = np.zeros(8, np.float32)\n",
        "self.t = torch.from_numpy(A)",
        "self.t.add_(1)\nt = self.t",
    ),
    "torch_generator": ("", "self.g = torch.Generator().manual_seed(1)", "t = torch.rand(8, generator=self.g)"),
    "numpy_generator": ("", "self.g = np.random.default_rng(1)", "t = float(self.g.normal())"),
    "numpy_random_state": ("", "self.g = {'r': np.random.RandomState(1)}", "t = float(self.g['r'].rand())"),
    "python_generator": ("R = random.Random(1)\n", "", "t = R.random()"),
    "random_of_the_process": ("", "", "t = random.random() + float(np.random.rand()) + torch.rand(())"),
    "threads": ("", "", "torch.set_num_threads(3)\nt = 0"),
    "deterministic": ("", "", "torch.use_deterministic_algorithms(True, warn_only=True)\nt = 0"),
    "matmul_precision": ("", "", "torch.set_float32_matmul_precision('high')\nt = 0"),
    "autocast": (
        "",
        "",
        "torch.set_autocast_enabled('cpu', True)\ntorch.set_autocast_enabled('cpu', False)\ntorch.set_autocast_dtype('cpu', torch.float16)\nt = 0",
    ),
    "default_dtype": ("", "", "torch.set_default_dtype(torch.float64)\nt = 0"),
    "grad_mode": ("", "", "torch.set_grad_enabled(False)\ntorch.set_grad_enabled(True)\nt = 0"),
    "training_flags": ("", "", "self.o.training = not self.o.training\nt = 0"),
    "requires_grad": ("", "", "self.frozen = self.o.bias.requires_grad_(False)\nt = 0"),
    "weight_through_data": ("", "", "self.o.weight.data.mul_(1.5)\nt = 0"),
    "weight_given_other_memory": ("", "", "self.o.weight.data = self.o.weight.data * 1.5\nt = 0"),
    "parameter_replaced": ("", "", "self.o.bias = nn.Parameter(self.o.bias.detach() + 1)\nt = 0"),
    "numpy_errors": ("", "", "np.seterr(all='ignore')\nt = 0"),
    "warning_filters": ("", "", "warnings.simplefilter('ignore', ResourceWarning)\nt = 0"),
    "environment_by_name": ("from os import environ\n", "", "environ['STATEFUL_MODELS'] = '1'\nt = 0"),
    "umask": ("import os\n", "", "os.umask(0o77)\nt = 0"),
    "locale": ("import locale\n", "", "locale.setlocale(locale.LC_ALL, 'C.UTF-8')\nt = 0"),
    "signal_handlers": (
        "import signal\n",
        "",
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, print)\nt = 0",
    ),
    "collector_thresholds": ("import gc\n", "", "gc.set_threshold(699, 9, 9)\nt = 0"),
    "profile_function": ("import sys\n", "", "sys.setprofile(lambda *a: None)\nt = 0"),
    "trace_function": ("import sys\n", "", "sys.settrace(lambda *a: None)\nt = 0"),
    "hook_of_threads": ("import threading\n", "", "threading.excepthook = print\nt = 0"),
    "switch_interval": ("import sys\n", "", "sys.setswitchinterval(0.01)\nt = 0"),
    "decimal_context": ("import decimal\n", "", "decimal.getcontext().prec = 7\nt = 0"),
    "socket_timeout": ("import socket\n", "", "socket.setdefaulttimeout(3)\nt = 0"),
    "flushed_denormals": ("", "", "torch.set_flush_denormal(True)\nt = 0"),
    "running_statistics_beside_a_branch": ("", "self.bn = nn.BatchNorm1d(8)", "t = self.bn(h)"),
    "rows_scaled_to_a_norm": (
        "",
        "self.emb = nn.Embedding(10, 8, max_norm=0.5)",
        "t = self.emb((x[:, 0].abs() * 2).long() % 10)",
    ),
    "observer_of_a_quantiser": ("", "self.fq = torch.ao.quantization.FakeQuantize()", "t = self.fq(h)"),
    "instance_norm": (
        "",
        "self.norm = nn.InstanceNorm1d(4, track_running_stats=True)",
        "t = self.norm(h[None])[0]",
    ),
    "optimizer_step": (
        "",
        "self.opt = torch.optim.SGD(self.e.parameters(), lr=0.1, momentum=0.9)",
        "for p in self.e.parameters():\n    p.grad = torch.ones_like(p)\nself.opt.step()\nself.opt.zero_grad()\nt = 0",
    ),
    "average_of_weights": (
        "import copy\n",
        "self.average = [copy.deepcopy(self.e)]",
        "with torch.no_grad():\n    for a, b in zip(self.average[0].parameters(), self.e.parameters()):\n"
        "        a.mul_(0.9).add_(b, alpha=0.1)\nt = self.average[0](x).detach()",
    ),
    "part_deleted": (
        "",
        "self.gone = nn.Linear(6, 8)",
        "t = self.gone(x) if hasattr(self, 'gone') else 0\nif hasattr(self, 'gone'):\n    del self.gone",
    ),
    "parametrization_that_counts": (
        "import torch.nn.utils.parametrize as P\nclass Counts(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.register_buffer('n', torch.zeros(()))\n"
        "    def forward(self, w):\n        self.n += 1\n        return w * 1.0\n"
        "    def right_inverse(self, w):\n        return w\n",
        "P.register_parametrization(self.e, 'weight', Counts())",
        "t = 0",
    ),
    "context_of_a_function": (
        "KEPT = []\nclass F(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, a):\n"
        "        KEPT.append(ctx)\n        ctx.save_for_backward(a)\n        return a * 2\n"
        "    @staticmethod\n    def backward(ctx, g):\n        KEPT.append(g)\n        return g * 2\n",
        "",
        "t = F.apply(h)",
    ),
    "hook_on_a_gradient": ("KEPT = []\n", "self.o.weight.register_hook(lambda g: KEPT.append(g))", "t = 0"),
    "lock": ("LOCK = threading.Lock()\n", "", "LOCK.acquire(blocking=False)\nt = 0"),
    "switches_of_a_backend": ("", "", "torch.backends.cudnn.benchmark = True\nt = 0"),
    "environment": ("import os\n", "", "os.environ['STATEFUL_MODELS'] = '1'\nt = 0"),
    "hooks_added_in_the_forward": ("", "", "self.e.register_forward_hook(lambda *a: None)\nt = 0"),
    "counter": ("COUNT = 0\n", "self.n = 0", "global COUNT\nCOUNT += 1\nself.n += 1\nt = COUNT"),
    "bytearray": ("", "self.b = bytearray(3)", "self.b[0] += 1\nt = 0"),
    "masked_array": ("", "self.a = np.ma.zeros(4)", "self.a[1] = np.ma.masked\nt = 0"),
    "array_of_numbers": ("", "self.a = array.array('f', [0.0])", "self.a[0] += 1\nself.a.append(2)\nt = self.a[0]"),
    "memory_of_ctypes": ("", "self.a = (ctypes.c_float * 3)()", "self.a[0] += 1\nt = self.a[0]"),
    "class_of_a_module": (
        "class Other(nn.Linear):\n    pass\n",
        "",
        "self.o.__class__ = Other\nt = 0",
    ),
    "working_folder": ("import os\n", "", "os.chdir('/')\nt = 0"),
    "print_options": ("", "", "torch.set_printoptions(precision=2)\nnp.set_printoptions(precision=3)\nt = 0"),
    "standard_output": ("import io, sys\n", "", "sys.stdout = io.StringIO()\nt = 0"),
    "simple_queue": ("", "self.q = queue.SimpleQueue()\nself.q.put(1)", "self.q.put(h)\nself.q.get()\nt = 0"),
    "logger": ("import logging\nLOG = logging.Logger('stateful')\n", "", "LOG.last = h\nt = 0"),
    "list_iterator": ("", "self.i = iter([1, 2, 3, 4, 5, 6, 7, 8, 9])", "t = next(self.i)"),
    "growing_cache_with_gradient": (
        "class K:\n    def __init__(self):\n        self.k = []\n",
        "self.cache = K()",
        "self.cache.k.append(h)\nt = torch.stack(self.cache.k).mean(0)",
    ),
}


def changing(name):
    """The module and the model that changes something."""
    return build(name, *CHANGES[name])
