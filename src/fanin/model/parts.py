"""Parameters that FSDP (version 1) and ZeRO-3 keep as flat parts: the part of each that is in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.errors import PlanError
from fanin.model.sharding import is_whole
from fanin.model.wrappers import join, named_modules, named_parameters, wraps
from fanin.tensors.holdings import Part, Range, holdings, is_partitioned

if TYPE_CHECKING:
    import torch

__all__ = ["InPart", "named_parts"]


@dataclass(frozen=True, slots=True)
class InPart:
    """A parameter, or the flat part of it that is in this process.

    Attributes:
        tensor: memory that can be written.
        part: which elements of the parameter it is; None where the tensor itself says so.
    """

    tensor: Any
    part: Part | None = None


def named_parts(model: torch.nn.Module) -> Iterator[tuple[str, int, InPart]]:
    """Every parameter under every name, and what this process holds of it; the number is the same for all its names.

    Raises:
        PlanError: an optimizer of DeepSpeed holds the values that are trained, or FSDP keeps them in an unknown way.

    Example:
        >>> import torch
        >>> [(name, found.part) for name, _, found in named_parts(torch.nn.Linear(2, 3))]
        [('weight', None), ('bias', None)]
    """
    _refuse_engine(model)
    flat = dict(_flat_parts(model))
    for name, tensor in named_parameters(model):
        if getattr(tensor, "_is_flat_param", False) or name in flat:
            continue
        yield name, id(tensor), _zero3(tensor) if is_partitioned(tensor) else InPart(tensor)
    for name, (number, found) in flat.items():
        yield name, number, found


def _zero3(parameter: Any) -> InPart:
    part = holdings(parameter)
    return InPart(parameter.ds_tensor.detach().narrow(0, 0, part.numel), part)


def _refuse_engine(model: torch.nn.Module) -> None:
    """Raise where DeepSpeed's optimizer has copied the values: the copies would overwrite what is written now."""
    engines = any(k.__qualname__ == "DeepSpeedEngine" for m in model.modules() for k in type(m).__mro__)
    taken = any(hasattr(p, name) for p in model.parameters() for name in ("_z3_optimizer", "_hp_mapping"))
    if engines or taken:
        raise PlanError(
            "deepspeed.initialize has copied the weights into its optimizer, and the first step would overwrite what "
            "is written now. Apply the plan to the model before deepspeed.initialize."
        )


# ---------------------------------------------------------------------- FSDP, version 1
def _flat_parts(model: torch.nn.Module) -> Iterator[tuple[str, tuple[int, InPart]]]:
    paths = {id(module): path for path, module in named_modules(model)}
    for path, module in named_modules(model):
        if wraps(module) == "_fsdp_wrapped_module" and not is_whole(module):
            yield from _parts_of(module, path, paths)


def _parts_of(module: Any, path: str, paths: dict[int, str]) -> Iterator[tuple[str, tuple[int, InPart]]]:
    flat = module._handle.flat_param
    try:
        if any(e is not None for e in flat._param_extensions):
            raise PlanError(
                f"the parameters of {repr(path) if path else 'the model'} are spread by FullyShardedDataParallel and "
                "tensor parallelism together. Use fully_shard with tensor parallelism, or apply before wrapping."
            )
        shard = flat.detach()
        if shard.size() != flat._sharded_size:
            raise PlanError(
                f"FullyShardedDataParallel has gathered the parameters of {repr(path) if path else 'the model'} for a "
                "pass. Apply the plan before or after forward and backward."
            )
        made = {}
        for info, shape, where in zip(flat._param_infos, flat._shapes, flat._shard_param_infos, strict=True):
            found = InPart(*_part(shard, tuple(shape), where))
            made[info.param_name, id(info.module)] = id(found), found
            yield join(paths[id(info.module)], info.param_name), (id(found), found)
        for tie in flat._shared_param_infos:
            yield join(paths[id(tie.module)], tie.param_name), made[tie.prim_param_name, id(tie.prim_module)]
    except (AttributeError, KeyError) as error:
        raise PlanError(
            f"this version of torch keeps the flat parameters of {repr(path) if path else 'the model'} in another way "
            f"({error}). Apply the plan before wrapping, or inside FullyShardedDataParallel.summon_full_params(model)."
        ) from error


def _part(shard: Any, shape: tuple[int, ...], where: Any) -> tuple[Any, Range]:
    if not where.in_shard:
        return shard[:0], Range(shape, 0, 0)
    first, last = where.intra_param_start_idx, where.intra_param_end_idx + 1
    begin = where.offset_in_shard
    return shard[begin : begin + where.numel_in_shard], Range(shape, first, last)
