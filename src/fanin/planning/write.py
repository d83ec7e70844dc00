"""Write the weights of a plan to a folder, slice by slice, without a model in memory; go on after a kill."""

from __future__ import annotations

import json
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError, OutputError, PlanError
from fanin.planning.digest import digest
from fanin.planning.slices import DrawnBytes, bytes_of
from fanin.planning.tensor_files import DTYPES, INDEX, Entry, TensorFile, num_bytes, shards
from fanin.streams.cpu import default_threads
from fanin.text.block_file import MOST_AHEAD, write_blocks
from fanin.text.files import PathLike, make_folder, refusal, sync_folder, write_text
from fanin.text.names import clean
from fanin.text.numbers import counted
from fanin.text.reading import shown

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData

__all__ = ["Written", "assert_dtype", "metadata_of", "write"]

_SPARE = 1 << 20  # bytes of the disk that stay free


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What `Plan.write` did.

    Attributes:
        folder: where.
        files: names of the files of weights, all of them, in order.
        kept: those of them that were complete already.
        left_out: those that are another process's part.
        num_bytes: of all weights.
    """

    folder: Path
    files: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]
    num_bytes: int

    def __str__(self) -> str:
        done = len(self.files) - len(self.kept) - len(self.left_out)
        files = f"{done} file{'' if done == 1 else 's'} written"
        return f"{files}, {len(self.kept)} kept, {len(self.left_out)} left out; {self.num_bytes} bytes in all"


def write(
    plan: PlanData,
    folder: PathLike,
    *,
    shard_size: str | int = "5GB",
    dtype: str | None = None,
    resume: bool = True,
    part: tuple[int, int] | None = None,
    model: torch.nn.Module | None = None,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> Written:
    """Write a folder of weights; see `Plan.write`."""
    buffers = _buffers(model)
    drawn = _entries(plan, dtype)
    files = shards([*drawn, *(_entry(n, t) for n, t in buffers.items())], num_bytes(shard_size))
    metadata = metadata_of(plan, tuple(buffers))
    rank, ranks = _checked_part(part)
    mine = files[rank::ranks]
    if dry_run:
        names = tuple(f.name for f in files)
        return Written(
            folder=Path(folder), files=names, kept=(), left_out=names, num_bytes=sum(f.nbytes for f in files)
        )
    where = make_folder(folder)
    kept = [f for f in mine if _is_complete(where / f.name, f, metadata, resume)]
    todo = [f for f in mine if f not in kept]
    _assert_room(where, todo)
    total, done = sum(f.nbytes for f in todo), 0
    for file in todo:
        for more in _write_file(plan, file, where / file.name, metadata, buffers):
            done += more
            if progress is not None:
                progress(min(done, total), total)
    _save_config(model, where)
    if len(files) > 1 and all((where / f.name).exists() for f in files):
        write_text(where / INDEX, _index(files))
    return Written(
        folder=where,
        files=tuple(f.name for f in files),
        kept=tuple(f.name for f in kept),
        left_out=tuple(f.name for f in files if f not in mine),
        num_bytes=sum(f.nbytes for f in files),
    )


# ---------------------------------------------------------------------- before the first byte
def assert_dtype(dtype: str | None) -> None:
    """Check that weights can be written in this dtype; None leaves each in its own."""
    if dtype is not None and dtype not in DTYPES:
        raise ArgumentError(f"dtype must be one of {', '.join(DTYPES)}; got {shown(dtype)}")


def _entries(plan: PlanData, dtype: str | None) -> list[Entry]:
    assert_dtype(dtype)
    lost = [a.name for a in plan.assignments.values() if a.action != "draw" or a.through]
    if lost:
        without = counted(len(lost), "parameter has no law of its own", "parameters have no law of their own")
        raise PlanError(
            f"{without}, so that there is nothing to write for them: "
            f"{', '.join(lost[:8])}. Give each a law with an override, or apply the plan and save the model."
        )
    made = [Entry(a.name, dtype or a.dtype, a.shape) for a in plan.assignments.values()]
    if odd := [e.name for e in made if e.dtype not in DTYPES]:
        raise PlanError(f"{odd[0]!r} has a dtype that files of weights do not hold. Give dtype='bfloat16', say.")
    for a in plan.assignments.values():
        law: Any = a.initializer
        law.check(a.shape, a.layout)
    return made


def _entry(name: str, tensor: torch.Tensor) -> Entry:
    return Entry(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def _buffers(model: torch.nn.Module | None) -> dict[str, Any]:
    """The buffers that a checkpoint holds, on the CPU."""
    if model is None:
        return {}
    from fanin.planning.materialize import buffer_values

    names = set(model.state_dict(keep_vars=True)) - {n for n, _ in model.named_parameters(remove_duplicate=False)}
    known, _ = buffer_values(model, {}, wanted=names)
    held = {n: known.get(n, b) for n, b in model.named_buffers()}
    return {n: t.detach().cpu().contiguous() for n, t in held.items() if n in names}


def metadata_of(plan: PlanData, buffers: Sequence[str] = ()) -> dict[str, str]:
    """What a file says of the plan that it was written from."""
    more = {"fanin_buffers": json.dumps(list(buffers))} if buffers else {}
    return {"format": "pt", "fanin_plan": digest(plan), "fanin_seed": str(plan.seed), **more}


def _checked_part(part: tuple[int, int] | None) -> tuple[int, int]:
    given = (0, 1) if part is None else part
    if not (isinstance(given, tuple) and len(given) == 2 and all(type(n) is int for n in given)):
        raise ArgumentError(f"part is two whole numbers (which, of how many), as in (0, 4); got {shown(part)}")
    rank, ranks = given
    if not 0 <= rank < ranks:
        raise ArgumentError(f"part is (which, of how many) with 0 <= which < how many; got {part!r}")
    return rank, ranks


def _is_complete(place: Path, file: TensorFile, metadata: Mapping[str, str], resume: bool) -> bool:
    """Whether a file is there already; a file of another plan is never written over."""
    header = file.header(metadata)
    for there in (place, _partial(place)):
        if not there.exists():
            continue
        if not resume:
            raise OutputError(f"'{clean(there)}' exists already. Give an empty folder, or resume=True to go on there.")
        found = _beginning(there, len(header))
        if (there == place and found != header) or found != header[: len(found)]:
            raise OutputError(
                f"'{clean(there)}' was written from another plan, seed, dtype or size of shards. Give an empty folder, "
                "or remove the file."
            )
    return place.exists() and place.stat().st_size == len(header) + file.nbytes


def _beginning(place: Path, count: int) -> bytes:
    with place.open("rb") as opened:
        return opened.read(count)


def _partial(place: Path) -> Path:
    return place.with_name(f"{place.name}.partial")


def _assert_room(where: Path, todo: Sequence[TensorFile]) -> None:
    there = sum(p.stat().st_size for f in todo if (p := _partial(where / f.name)).exists())
    needed, free = sum(f.nbytes for f in todo) - there + _SPARE, shutil.disk_usage(where).free
    if todo and needed > free:
        raise OutputError(
            f"the weights need {needed} bytes and the disk of '{clean(where)}' has {free}: {needed - free} are "
            "missing. Free some space, or give a place on another disk."
        )


# ---------------------------------------------------------------------- one file
def _write_file(
    plan: PlanData, file: TensorFile, place: Path, metadata: Mapping[str, str], buffers: Mapping[str, Any]
) -> Iterator[int]:
    """Write a file and give its final name when it is on the disk; yields bytes that are in it."""
    partial, pieces = _partial(place), _Pieces(plan, file, file.header(metadata), buffers)
    try:
        there = partial.stat().st_size if partial.exists() else 0
        start = max(there - MOST_AHEAD, 0)
        yield start
        yield from write_blocks(partial, pieces.size, pieces.fill, start=start, threads=default_threads())
        partial.replace(place)
        sync_folder(place.parent)
    except OSError as error:
        raise refusal(place, error) from error


class _Pieces:
    """What a file of weights is made of: its header and the bytes of each tensor, one after the other.

    Args:
        plan: draws parameters.
        file: the file.
        header: its first bytes.
        buffers: values of the tensors that are not drawn.
    """

    def __init__(self, plan: PlanData, file: TensorFile, header: bytes, buffers: Mapping[str, Any]) -> None:
        self._plan, self._header, self._buffers = plan, header, buffers
        self._drawn = DrawnBytes(plan)
        self._entries: tuple[Entry | None, ...] = (None, *file.entries)  # None: the header
        sizes = (len(header), *(e.nbytes for e in file.entries))
        self._starts = (0, *accumulate(sizes))
        self.size: int = self._starts[-1]

    def fill(self, at: int, memory: memoryview) -> None:
        """Write the bytes of the file from `at` on."""
        which = bisect_right(self._starts, at) - 1
        while memory:
            here = memory[: self._starts[which + 1] - at]
            if here:
                self._fill_from(self._entries[which], here, at - self._starts[which])
            memory, at, which = memory[len(here) :], at + len(here), which + 1

    def _fill_from(self, entry: Entry | None, memory: memoryview, start: int) -> None:
        if entry is None:
            memory[:] = self._header[start : start + len(memory)]
        elif entry.name in self._buffers:
            memory[:] = bytes_of(self._buffers[entry.name].reshape(-1))[start : start + len(memory)]
        else:
            self._drawn.fill(memory, self._plan[entry.name], entry.dtype, start)


# ---------------------------------------------------------------------- beside the weights
def _index(files: Sequence[TensorFile]) -> str:
    names = {e.name: f.name for f in files for e in f.entries}
    total = sum(f.nbytes for f in files)
    return json.dumps({"metadata": {"total_size": total}, "weight_map": names}, indent=2) + "\n"


def _save_config(model: Any, where: Path) -> None:
    save = getattr(getattr(model, "config", None), "save_pretrained", None)
    if save is not None:
        save(where)
