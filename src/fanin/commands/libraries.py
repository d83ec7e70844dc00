"""Models of other libraries as targets: ``timm:resnet50`` and ``hf:config.json``. No weights are downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fanin.errors import MissingDependencyError, TargetError

__all__ = ["LIBRARIES", "example_inputs"]


def _timm(name: str) -> Any:
    if not name.strip():
        raise TargetError("timm: takes the name of a model, as in timm:resnet50")
    try:
        import timm
    except ImportError as error:
        raise MissingDependencyError("timm: needs timm; install it with: pip install timm") from error
    except Exception as error:  # a torchvision that was built for another torch, for one
        raise TargetError(
            f"timm cannot be imported: {type(error).__name__}: {error}. Versions of torch, "
            "torchvision and timm must fit together: see python -c 'import timm'"
        ) from error
    try:
        return timm.create_model(name, pretrained=False)
    except Exception as error:
        raise TargetError(
            f"timm has no model {name!r} ({error}); look for its name with timm.list_models('*resnet*')"
        ) from error


def _transformers(name: str) -> Any:
    if not name.strip():
        raise TargetError("hf: takes a config.json, or a folder that holds one, as in hf:model/config.json")
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            f"hf:{name} needs transformers; install it with: pip install transformers"
        ) from error
    path = Path(name)
    if not path.exists():
        raise TargetError(f"no file or folder {name!r}; hf: takes a config.json, or a folder that holds one")
    try:
        config = transformers.AutoConfig.from_pretrained(str(path))
        own = next(iter(config.architectures or ()), "")
        kind = getattr(transformers, own, None)
        return transformers.AutoModel.from_config(config) if kind is None else kind(config)
    except Exception as error:
        raise TargetError(f"transformers cannot build a model from {name!r}: {error}{_first_cause(error)}") from error


def _first_cause(error: BaseException) -> str:
    """What an import of the library failed on in the end; "" where the error says it itself."""
    first = error
    while isinstance(error, ImportError) and first.__cause__ is not None:
        first = first.__cause__
    return "" if first is error else f" The first error was {type(first).__name__}: {first}"


# what stands before the colon -> a model of what stands behind it
LIBRARIES: MappingProxyType[str, Callable[[str], Any]] = MappingProxyType({"timm": _timm, "hf": _transformers})


def example_inputs(model: Any) -> Any:
    """Inputs that a model's own configuration fixes; None where it fixes none."""
    from fanin.model.examples import example_calls

    args, kwargs = next(iter(example_calls(model)), ((), {}))
    return kwargs or args or None
