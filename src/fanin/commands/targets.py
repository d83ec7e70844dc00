"""What a command line names: ``file.py:name`` or ``package.module:name`` as a model with its inputs, or a function."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.commands.libraries import LIBRARIES, example_inputs
from fanin.errors import MissingDependencyError, TargetError, UnknownNameError, did_you_mean
from fanin.memory import ran_out
from fanin.text.names import clean
from fanin.timing import part as timed

if TYPE_CHECKING:
    from fanin.theory.activations import Activation

__all__ = ["Target", "called_with", "load_activation", "load_object", "load_target", "parse_input", "quiet", "takes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a target gave.

    Attributes:
        name: the target as it was written.
        model: the ``torch.nn.Module``.
        inputs: a tensor, a tuple of positional or a dict of keyword arguments; None where the target gave none.
        targets: labels for a loss, None where there are none.
        loss: a callable of the model's output, None where there is none.
    """

    name: str
    model: Any
    inputs: Any = None
    targets: Any = None
    loss: Any = None


def load_target(target: str, *, input_shape: str | None = None, meta: bool = False, seed: int = 0) -> Target:
    """Load what a target names and call it.

    The callable takes no arguments and returns the model, or a tuple (model, inputs), (model, inputs, targets) or
    (model, inputs, loss), or a mapping with these names. A module-level ``nn.Module`` is accepted too. What it
    prints goes to stderr.

    Args:
        target: "file.py:callable", "package.module:callable", "timm:resnet50" or "hf:config.json".
        input_shape: "8,3,224,224" or "8,16:long<1000"; a random input of that shape instead of the target's own.
        meta: build the model on the meta device, without memory.
        seed: of that random input; it is never that of the weights, which a target may have given torch itself.

    Raises:
        TargetError: it cannot be imported, called, or gives no model; the message says which and what is expected.
    """
    with timed("import torch"):
        torch = _torch()
    with timed("load the model"):
        parts = _of_library(target, meta) or _parts(target, _called(target, load_object(target), meta))
    if input_shape is not None:
        parts["inputs"] = parse_input(input_shape, seed=seed)
    if not isinstance(parts["model"], torch.nn.Module):
        raise TargetError(
            f"{target!r} gave {type(parts['model']).__name__}, not a torch.nn.Module. Return the model, or "
            "(model, inputs)."
        )
    return Target(name=target, **parts)


def _of_library(target: str, meta: bool) -> dict[str, Any]:
    """A model of another library with inputs for it; empty where the target names none."""
    library, separator, name = target.partition(":")
    if not separator or library not in LIBRARIES:
        return {}
    with quiet(), _torch().device("meta") if meta else contextlib.nullcontext():
        model = LIBRARIES[library](name)
    return {"model": model, "inputs": example_inputs(model)}


def load_activation(target: str) -> Activation:
    """The activation that a command-line argument means.

    Args:
        target: a name (``gelu``, ``leaky_relu(0.2)``), ``package.module:function``, ``path/to/file.py:function``, or
            a dotted name such as ``torch.nn.functional.gelu``. A class, such as ``torch.nn:GELU``, is called first.

    Raises:
        TargetError: the module or the function cannot be loaded.
        UnknownNameError: no such name.
        TheoryError: what was loaded is no elementwise function.

    Example:
        >>> load_activation("gelu").name, load_activation("numpy:tanh").name, load_activation("scipy.special.erf").name
        ('gelu', 'tanh', 'erf')
    """
    from fanin.theory.callables import resolve

    if ":" in target:
        return resolve(_made(load_object(target)))
    try:
        return resolve(target)
    except UnknownNameError:
        place, _, name = target.rpartition(".")
        if not place or "(" in target:
            raise
        return resolve(_made(load_object(f"{place}:{name}")))


def _made(found: Any) -> Any:
    return found() if isinstance(found, type) else found


def load_object(target: str) -> Any:
    """The object that "file.py:name" or "package.module:name" names; the name may have dots.

    The file runs with its own folder on the import path, a module with the current one. What they print goes to
    stderr.

    Raises:
        TargetError: there is no such file, module or name, or importing it failed.

    Example:
        >>> load_object("math:pi")
        3.141592653589793
    """
    place, separator, attribute = target.rpartition(":")
    if not separator or not place or not attribute:
        raise TargetError(f"a target is file.py:name or package.module:name; got {target!r}{_meant(target)}")
    is_file = place.endswith(".py") or "/" in place or Path(place).is_file()
    module = _from_file(place) if is_file else _from_package(place)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [n for n in dir(module) if not n.startswith("_")]
            hint = did_you_mean(attribute, names) if names else "it defines nothing"
            raise TargetError(f"{place} has no {attribute!r}; {hint}")
        found = getattr(found, part)
    return found


def _meant(target: str) -> str:
    """What to give in place of a file that is no target, in half a sentence; "" where that is not known."""
    ending = Path(target).suffix.lower()
    if ending == ".py":
        return f". Name what gives the model in it, as in {clean(target)}:build"
    if ending in _WEIGHTS:
        unpickled = "" if ending == ".safetensors" else ", and is never unpickled"
        return f". A file of weights is no model{unpickled}: name the code that builds it and loads them"
    return ""


_WEIGHTS = frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl"})


def parse_input(text: str, *, seed: int = 0) -> Any:
    """A random tensor of the shape and the kind written as "8,3,224,224", "8,16:long<1000" or "8,64:float64".

    Args:
        text: sizes with commas between them. Behind a colon a dtype as torch names it: floating numbers are standard
            normal, whole ones go from 0 to below the number behind "<".
        seed: other numbers for each; they are independent of what `torch.manual_seed` of the same seed draws.

    Raises:
        TargetError: not a list of positive sizes, an unknown dtype, or whole numbers without their limit.

    Example:
        >>> tuple(parse_input("2,3").shape), parse_input("2,3:long<10").dtype
        ((2, 3), torch.int64)
    """
    sizes, _, kind = text.partition(":")
    try:
        shape = tuple(int(n) for n in sizes.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise TargetError(
            "--input is a shape such as 8,3,224,224 (sizes >= 1, commas between them), for ids 8,16:long<1000; got "
            f"{text!r}"
        )
    return _random(shape, *_kind(text, kind), seed=seed)


def _kind(text: str, kind: str) -> tuple[Any, int | None]:
    """The dtype and the limit of whole numbers behind the colon of --input."""
    torch = _torch()
    name, separator, limit = kind.partition("<")
    plain = "float32" if ":" not in text else name.strip()
    dtype = getattr(torch, plain, None)
    if not isinstance(dtype, torch.dtype) or dtype.is_complex:
        raise TargetError(f"--input {text!r}: {name!r} is no dtype; write float32, bfloat16, long<1000, bool ...")
    if dtype.is_floating_point or dtype == torch.bool:
        if separator:
            raise TargetError(f"--input {text!r}: only whole numbers have a limit; write 8,16:long<1000")
        return dtype, 2 if dtype == torch.bool else None
    if not limit.strip().isdigit() or int(limit) < 1:
        raise TargetError(f"--input {text!r}: whole numbers need a limit, the size of the table: 8,16:long<1000")
    return dtype, int(limit)


def _random(shape: tuple[int, ...], dtype: Any, limit: int | None, *, seed: int) -> Any:
    from fanin.model.made_up import tensor_source

    torch, generator = _torch(), tensor_source(seed)
    try:
        if limit is None:
            return torch.randn(shape, generator=generator).to(dtype)
        return torch.randint(0, limit, shape, generator=generator).to(dtype)
    except RuntimeError as error:
        raise TargetError(f"--input: a tensor of shape {shape} cannot be made ({error}); give a smaller one") from error


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError.of("torch", extra="torch", needed_for="loading a model") from error
    return torch


def _from_file(place: str) -> Any:
    path = Path(place)
    if not path.is_file():
        raise TargetError(f"no file {place!r} (looked from {Path.cwd()})")
    if path.suffix != ".py":
        raise TargetError(
            f"{place!r} is no Python file; a target is file.py:name. Weights and checkpoints are never loaded."
        )
    name = f"_fanin_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{place!r} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _beside(path.resolve().parent), _importing(place):
        spec.loader.exec_module(module)
    return module


def _from_package(place: str) -> Any:
    if not all(word.isidentifier() for word in place.split(".")):
        raise TargetError(f"{place!r} is no Python file and no module; a target is file.py:name or package.module:name")
    with _beside(Path.cwd()), _importing(place):
        return importlib.import_module(place)


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """The folder on the import path, so that a target can import the files beside it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


@contextlib.contextmanager
def _importing(place: str) -> Iterator[None]:
    try:
        with quiet():
            yield
    except (Exception, SystemExit) as error:
        raise TargetError(f"importing {place} failed: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What the target prints goes to stderr, and reading standard input fails at once."""
    old = sys.stdin
    sys.stdin = io.StringIO()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdin = old


def _called(target: str, found: Any, meta: bool) -> Any:
    torch = _torch()
    if isinstance(found, torch.nn.Module) or not callable(found):
        return found
    if inspect.iscoroutinefunction(found):
        raise TargetError(f"{target!r} is an async function; write it with def and not async def")
    try:
        with quiet(), torch.device("meta") if meta else contextlib.nullcontext():
            return found()
    except (Exception, SystemExit) as error:
        if ran_out(error):
            raise TargetError(
                f"calling {target} ran out of memory; --meta (of plan and init) builds the model without its weights"
            ) from error
        if isinstance(error, TypeError) and "required positional argument" in str(error):
            raise TargetError(
                f"{target!r} takes arguments ({error}); name a callable that takes none, such as a function build() in "
                "a file of your own"
            ) from error
        raise TargetError(f"calling {target} failed: {type(error).__name__}: {error}") from error


def called_with(target: str, function: Any, *arguments: Any) -> dict[str, Any]:
    """What a target's callable gives for these arguments: "model", and what else it has.

    Raises:
        TargetError: it raises, or gives no model.
    """
    torch = _torch()
    try:
        with quiet():
            made = function(*arguments)
    except (Exception, SystemExit) as error:
        given = ", ".join(map(repr, arguments))
        if not takes(function, len(arguments)):
            raise TargetError(
                f"{target!r} does not take {given}; name a function of the width, def build(width), that "
                "returns the model"
            ) from error
        raise TargetError(f"calling {target} with {given} failed: {type(error).__name__}: {error}") from error
    parts = _parts(target, made)
    if not isinstance(parts["model"], torch.nn.Module):
        raise TargetError(f"{target!r} gave {type(parts['model']).__name__}, not a torch.nn.Module")
    return parts


def takes(function: Any, count: int) -> bool:
    """Whether a function can be called with this many positional arguments; True where its signature is not known.

    Example:
        >>> takes(lambda width: width, 1), takes(lambda: 3, 1)
        (True, False)
    """
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a function of C
        return True
    return True


def _parts(target: str, made: Any) -> dict[str, Any]:
    if isinstance(made, dict):
        if made and all(hasattr(value, "requires_grad") for value in made.values()):
            raise TargetError(
                f"{target!r} gave tensors by name, as state_dict() does; build the model, load them with "
                "model.load_state_dict(weights), and return the model"
            )
        if "model" not in made or set(made) - {"model", "inputs", "targets", "loss"}:
            raise TargetError(
                f"{target!r} gave a mapping with {sorted(map(str, made))}; it needs model and may have inputs, "
                "targets, loss"
            )
        return dict(made)
    if not isinstance(made, tuple):
        return {"model": made}
    if not 1 <= len(made) <= 3:
        raise TargetError(
            f"{target!r} gave {len(made)} things; expected model, (model, inputs) or (model, inputs, targets or loss)"
        )
    parts = dict(zip(("model", "inputs"), made, strict=False))
    if len(made) == 3:
        parts["loss" if callable(made[2]) and not hasattr(made[2], "shape") else "targets"] = made[2]
    return parts
