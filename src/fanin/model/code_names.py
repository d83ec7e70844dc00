"""What code names: which globals, attributes and modules a function can reach, and which names it sets."""

from __future__ import annotations

import dis
import functools
import logging
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from fanin.model.memo import LRU_CACHE

__all__ = ["ATOMS", "CodeNames", "code_names", "is_library", "library_members", "looked_up"]

_LIBRARIES = frozenset(sys.stdlib_module_names) - {"__main__"} | {
    *("torch", "functorch", "torchgen", "triton", "numpy", "scipy", "sympy", "numba", "llvmlite", "jax", "jaxlib"),
    *("fanin", "pytest", "_pytest", "pluggy", "hypothesis", "IPython", "ipykernel", "rich"),
}
ATOMS = frozenset(
    {
        *(str, int, float, bool, type(None), bytes, complex, type(...), type(NotImplemented), range),
        *(torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, torch.finfo, torch.iinfo),
        *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.CodeType),
        *(types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodWrapperType, types.FrameType),
        *(types.ClassMethodDescriptorType, types.TracebackType),
    }
)
_IMPORT = dis.opmap["IMPORT_NAME"]
_STORES = (dis.opmap["STORE_ATTR"], dis.opmap["DELETE_ATTR"])
_SETTERS = frozenset({"setattr", "delattr", "__setattr__", "__delattr__", "__dict__", "vars", "globals", "exec"})
_NAMESPACES = (types.ModuleType, type)
_NOTHING = object()


@functools.lru_cache(maxsize=4096)
def is_library(module: str) -> bool:
    """Whether a module (by name) belongs to a library whose code is not entered.

    Example:
        >>> is_library("torch.nn.functional"), is_library("transformers.models.llama.modeling_llama")
        (True, False)
    """
    return module.partition(".")[0] in _LIBRARIES


@dataclass(frozen=True, slots=True)
class CodeNames:
    """What the code of a function, and of the functions inside it, names.

    Attributes:
        names: globals, attributes, and texts that could be the name of an attribute or a module.
        imports: whether it imports anything, or looks modules up by name.
        stores: whether it sets or deletes attributes; their names are among `names` if they are not computed.
        stores_any_name: whether it may set attributes by computed names.
    """

    names: set[str]
    imports: bool
    stores: bool
    stores_any_name: bool


def code_names(code: types.CodeType) -> CodeNames:
    """What a function's code names.

    Example:
        >>> def forward(self, x):
        ...     torch.table = x.sin()
        >>> found = code_names(forward.__code__)
        >>> sorted(found.names), found.stores
        (['sin', 'table', 'torch'], True)
    """
    names: set[str] = set()
    operations: set[int] = set()
    _collect(code, names, operations)
    any_name = not names.isdisjoint(_SETTERS)
    return CodeNames(
        names=names,
        imports=_IMPORT in operations or {"sys", "modules"} <= names,
        stores=any_name or not operations.isdisjoint(_STORES),
        stores_any_name=any_name,
    )


def _collect(code: types.CodeType, names: set[str], operations: set[int]) -> None:
    names.update(code.co_names)
    operations.update(code.co_code[::2])
    for constant in code.co_consts:
        if type(constant) is str:
            if constant.replace(".", "").isidentifier():
                names.add(constant)  # getattr(self, "name"), sys.modules["package.module"]
        elif type(constant) is types.CodeType:
            _collect(constant, names, operations)


def looked_up(space: dict[str, Any], code: CodeNames) -> Iterator[Any]:
    """Modules that a function with these globals imports in its body, if they are loaded, and loggers it asks for."""
    if "getLogger" in code.names:
        known = logging.root.manager.loggerDict
        yield logging.root
        yield from (known[name] for name in code.names if name in known)
    if not code.imports:
        return
    package = str(space.get("__package__") or "")
    parents = [package.rsplit(".", i)[0] for i in range(min(3, package.count(".") + 1))] if package else []
    for name in code.names:
        for full in (name, *(f"{parent}.{name}" for parent in parents)):
            module = sys.modules.get(full)
            if module is not None:
                yield module


def library_members(holders: Iterable[Any], names: set[str]) -> Iterator[Any]:
    """What code reaches through modules and classes of libraries: ``torch.nn.Linear``, ``torch.table``.

    Args:
        holders: globals of the code; only the modules and classes of libraries among them are looked into.
        names: what the code names.
    """
    todo = [h for h in holders if _is_of_library(h)]
    seen = set(map(id, todo))
    while todo:
        holder = todo.pop()
        space = vars(holder)
        for name in names:
            member = space.get(name, _NOTHING)
            if type(member) in ATOMS or id(member) in seen or _is_the_librarys_own(holder, member):
                continue
            seen.add(id(member))
            yield member
            if _is_of_library(member):
                todo.append(member)


def _is_of_library(thing: Any) -> bool:
    """Whether a thing is a module or a class of a library."""
    if not issubclass(type(thing), _NAMESPACES):
        return False
    name = vars(thing).get("__name__" if issubclass(type(thing), types.ModuleType) else "__module__")
    return is_library(str(name))


def _is_the_librarys_own(holder: Any, member: Any) -> bool:
    """Tables of the interpreter, caches of library functions: no forward keeps anything in them."""
    if type(member) is object or (holder is sys and not issubclass(type(member), _NAMESPACES)):
        return True
    return isinstance(member, LRU_CACHE) and is_library(str(getattr(member, "__module__", "")))
