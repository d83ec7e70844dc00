"""Weights in ``.safetensors`` files, compared with each other and with a plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import InputError, MissingFileError
from fanin.text.names import clean

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData
    from fanin.planning.diff import Difference, PlanDiff

__all__ = ["diff_files", "diff_plan_with_file", "is_weights_file"]


def is_weights_file(text: str) -> bool:
    """Whether a command line names a file of weights.

    Raises:
        MissingFileError: it does, and there is no such file.
    """
    if not text.endswith(".safetensors"):
        return False
    if not Path(text).is_file():
        raise MissingFileError(f"no file '{clean(text)}' (looked from {clean(Path.cwd())})")
    return True


def diff_files(left: str, right: str) -> PlanDiff:
    """Which tensors of two files differ, and by how much at most; both sides hold them one at a time."""
    from fanin.planning.diff import PlanDiff

    with _opened(left) as one, _opened(right) as two:
        names = list(dict.fromkeys((*one.keys(), *two.keys())))  # safetensors' handle is no mapping
        found = tuple(d for name in names for d in _differences(name, one, two))
    return PlanDiff(left=left, right=right, differences=found, compared=len(names))


def diff_plan_with_file(plan: PlanData, path: str) -> PlanDiff:
    """Which tensors of a file are not what a plan says, without the model."""
    from dataclasses import replace

    from fanin.planning.diff import diff_with_model

    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if name in plan}  # noqa: SIM118
    return replace(diff_with_model(plan, _holder(plan, tensors)), right=path)


def _opened(path: str) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{clean(path)}' cannot be read as safetensors: {clean(error)}. Write it again.") from error


def _differences(name: str, left: Any, right: Any) -> Iterator[Difference]:
    import torch

    from fanin.planning.diff import Difference

    sides = [f.get_tensor(name) if name in f.keys() else None for f in (left, right)]  # noqa: SIM118
    one, two = sides
    if one is None or two is None:
        yield Difference(name=name, field="", left=_brief(one), right=_brief(two))
    elif one.shape != two.shape or one.dtype != two.dtype:
        yield Difference(name=name, field="tensor", left=_brief(one), right=_brief(two))
    elif not torch.equal(one.view(torch.uint8) if one.dim() else one, two.view(torch.uint8) if two.dim() else two):
        most = float((one.double() - two.double()).abs().max())
        yield Difference(name=name, field="rms", left=_rms(one), right=_rms(two))
        yield Difference(name=name, field="largest difference", left=None, right=most)


def _brief(tensor: torch.Tensor | None) -> str | None:
    return None if tensor is None else f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _rms(tensor: torch.Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())


def _holder(plan: PlanData, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Empty modules that hold the tensors under their names; a file keeps tied tensors once, so ties are made again."""
    import torch

    root = torch.nn.Module()
    for a in plan.assignments.values():
        held = next((tensors[name] for name in a.names if name in tensors), None)
        if held is None:
            continue
        parameter = torch.nn.Parameter(held, requires_grad=held.is_floating_point())
        for name in a.names:
            *path, last = name.split(".")
            module = root
            for part in path:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(last, parameter)
    return root
