"""The compiled engine against the reference: every law, dtype, thread count and shard; and what happens without it."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fanin
from fanin.streams import Draw, cpu
from fanin.streams.boxes import Box
from fanin.streams.cpu import RANGE, cpu_engine, fill_memory
from fanin.streams.drawing import draw_at
from fanin.streams.dtypes import memory_dtype
from fanin.streams.geometry import Walk
from fanin.streams.law import prepare
from fanin.streams.numba_kernels import CHUNK, DENSE, SCATTERED, STREAMED
from fanin.streams.sampling import sample, sample_into
from tests.selection import few

KEY = fanin.key(0, "model.layers.0.self_attn.q_proj.weight")
LAWS = {
    "uniform": Draw(kind="uniform", width=0.3, shift=0.1),
    "normal": Draw(kind="normal", width=0.02, shift=-0.3),
    "truncated": Draw(kind="truncated_normal", width=0.02, lower=-2.0, upper=2.0),
    "one-sided": Draw(kind="truncated_normal", width=1.0, lower=-math.inf, upper=0.5),
    "narrow": Draw(kind="truncated_normal", width=0.02, lower=3.5, upper=5.0),
    "constant": Draw(kind="normal", width=0.0, shift=0.7),
    "tiny": Draw(kind="normal", width=1e-36),
}
DTYPES = ("float32", "bfloat16", "float16", "float64")


def assert_bits(actual: np.ndarray, wanted: np.ndarray) -> None:
    kind = f"u{wanted.itemsize}"
    wrong = np.flatnonzero(
        np.ascontiguousarray(actual).view(kind).ravel() != np.ascontiguousarray(wanted).view(kind).ravel()
    )
    if wrong.size or actual.shape != wanted.shape:
        raise AssertionError(f"{wrong.size} of {wanted.size} elements differ, first at {wrong[:3]}")


def test_assert_bits_can_fail():
    with pytest.raises(AssertionError, match="1 of 2 elements differ"):
        assert_bits(np.float32([0.0, 1.0]), np.float32([-0.0, 1.0]))


def test_this_machine_has_the_compiled_engine():
    assert cpu_engine() == "numba"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS)
def test_bits_of_the_reference(law, dtype):
    count, prepared = 2 * CHUNK + 1035, prepare(LAWS[law], dtype)
    for start in (0, 1, 7, (1 << 34) + 12_346):
        index = np.arange(start, start + count, dtype=np.uint64)
        memory = np.empty(count, memory_dtype(dtype))
        fill_memory(memory, prepared, KEY, Box((count,), (1,), start))
        assert_bits(memory, draw_at(prepared, KEY, index).view(memory.dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("law", ["uniform", "normal"])
def test_bits_written_past_the_caches(law, dtype, monkeypatch):
    """From any place in a cache line to any other, and nothing beside them."""
    monkeypatch.setattr(cpu, "_WORTH_STREAMING", 0)
    prepared = prepare(LAWS[law], dtype)
    for before, count in [(0, 2 * CHUNK + 5), (1, CHUNK + 40), (7, CHUNK), (15, 70), (3, 9), (31, 1)]:
        memory = np.zeros(before + count + 64, memory_dtype(dtype))
        fill_memory(memory, prepared, KEY, Box.of((count,)), offset=before)
        drawn = draw_at(prepared, KEY, np.arange(count, dtype=np.uint64)).view(memory.dtype)
        assert_bits(memory, np.concatenate([np.zeros_like(memory[:before]), drawn, np.zeros_like(memory[:64])]))


def test_what_is_written_past_the_caches():
    """Large and quickly drawn fills of contiguous, aligned memory."""

    def way(law="uniform", dtype="float32", size=1 << 22, steps=(1,), skew=0):
        memory = np.zeros(size * 8 + skew, np.uint8)[skew:][: size * 8 - 8].view(memory_dtype(dtype))
        return cpu._way(prepare(LAWS[law], dtype), Walk.of(Box.of((size,)), steps), memory)

    assert way() == way(dtype="bfloat16") == way("normal", "bfloat16") == way("truncated", "float16") == STREAMED
    assert way(size=1 << 21) == way("normal") == way(dtype="float64") == way(skew=1) == DENSE
    assert way(steps=(2,)) == SCATTERED


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("law", ["uniform", "normal", "truncated"])
def test_threads_do_not_matter(law, dtype):
    count, prepared = 3 * RANGE + 1001, prepare(LAWS[law], dtype)
    found = []
    for threads in (1, 2, 3, 4):
        memory = np.empty(count, memory_dtype(dtype))
        fill_memory(memory, prepared, KEY, Box.of((count,)), threads=threads)
        found.append(memory)
    for other in found[1:]:
        assert_bits(other, found[0])
    tail = np.arange(count - 5000, count, dtype=np.uint64)
    assert_bits(found[0][-5000:], draw_at(prepared, KEY, tail).view(found[0].dtype))


def test_two_hundred_random_shards_are_slices_of_the_whole():
    """Any axis, uneven, one-dimensional and 2-D meshes."""
    rng = np.random.default_rng(20)
    for trial in range(200):
        law, dtype = LAWS[("uniform", "normal", "truncated")[trial % 3]], ("float32", "bfloat16")[trial % 2]
        shape = tuple(int(n) for n in rng.integers(1, 60, rng.integers(1, 5)))
        whole = sample(law, KEY, shape, dtype=dtype)
        covered = np.zeros(shape, np.int8)
        axes = rng.permutation(len(shape))[: 1 + trial % 2]
        pieces = [[slice(None)] * len(shape)]
        for axis in axes:
            ranks = int(rng.integers(1, 6))
            size = -(-shape[axis] // ranks)
            pieces = [
                [*p[:axis], slice(min(r * size, shape[axis]), min((r + 1) * size, shape[axis])), *p[axis + 1 :]]
                for p in pieces
                for r in range(ranks)
            ]
        for box in pieces:
            assert_bits(sample(law, KEY, shape, dtype=dtype, box=box), whole[tuple(box)])
            covered[tuple(box)] += 1
        assert (covered == 1).all()


def test_shards_far_into_a_huge_tensor():
    """Starts beyond 2**34: rows, columns and steps of a tensor that no memory holds, element by element."""
    rng, shape = np.random.default_rng(21), (1 << 21, 1 << 15)
    for trial in range(40):
        row, column = int(rng.integers(1 << 20, (1 << 21) - 40)), int(rng.integers(0, (1 << 15) - 3000))
        box = [slice(row, row + 1 + trial % 7), slice(column, column + int(rng.integers(1, 3000)), 1 + trial % 3)]
        law, dtype = LAWS[("uniform", "normal", "truncated")[trial % 3]], ("float32", "bfloat16")[trial % 2]
        where = Box.of(shape, box)
        assert where.start > 1 << 34
        wanted = draw_at(prepare(law, dtype), KEY, where.indices()).reshape(where.shape)
        assert_bits(sample(law, KEY, shape, dtype=dtype, box=box), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_of_any_strides(dtype):
    rng = np.random.default_rng(22)
    kind = sample(LAWS["normal"], KEY, (1,), dtype=dtype).dtype
    for _ in range(60):
        shape = tuple(int(n) for n in rng.integers(1, 14, rng.integers(1, 5)))
        order = rng.permutation(len(shape))
        padded = np.zeros([shape[k] + 2 for k in order], kind)
        inner = padded[tuple(slice(1, -1) for _ in shape)].transpose(np.argsort(order))
        sample_into(inner, LAWS["normal"], KEY)
        assert_bits(inner, sample(LAWS["normal"], KEY, shape, dtype=dtype))
        assert np.count_nonzero(padded) <= inner.size


BLOCKED = "import sys; sys.modules['numba'] = None\n"
BROKEN = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "numba":
            raise ImportError("libLLVM is of another version")
sys.meta_path.insert(0, Broken())
"""
PROGRAM = """
import hashlib, warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    from fanin.streams import Draw, key
    from fanin.streams.cpu import cpu_engine
    from fanin.streams.sampling import sample
    digest = hashlib.sha256()
    for dtype in ("float32", "bfloat16", "float16", "float64"):
        narrow = Draw(kind="truncated_normal", lower=3.5, upper=5.0)
        for draw in (Draw(kind="uniform", shift=0.1), Draw(kind="normal"), narrow):
            digest.update(sample(draw, key(0, "w"), (150, 1000), dtype=dtype, box=[slice(3, 150)]).tobytes())
    digest.update(sample(Draw(kind="normal"), key(0, "w"), (400_000,)).tobytes())
    print(cpu_engine(), digest.hexdigest(), *{w.category.__name__ for w in seen})
"""


def run(program: str, **extra: str) -> list[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([p for p in sys.path if p]), **extra}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.split()


@pytest.fixture
def package_without_cache(tmp_path):
    """A copy of the package where no cache of numba's can be written: files stand where its folders would be."""
    source = Path(fanin.__file__).parent
    shutil.copytree(source, tmp_path / "fanin", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "fanin" / "streams" / "__pycache__").write_text("a file, not a folder")
    below_a_file = str(tmp_path / "fanin" / "streams" / "__pycache__" / "cache")
    places = dict.fromkeys(("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME", "IPYTHONDIR"), below_a_file)
    return {"PYTHONPATH": str(tmp_path), **places}


@pytest.mark.parametrize("numba", few(["absent", "broken", "without a cache"], "broken"))
def test_the_reference_takes_over_with_the_same_bits(numba, package_without_cache, capsys):
    """Where numba is not installed, where its import fails, and where its cache cannot be written."""
    exec(PROGRAM, {})  # in this process, which has the compiler
    compiled = capsys.readouterr().out.split()
    assert compiled[0] == "numba"
    assert compiled[2:] == []
    before = {"absent": BLOCKED, "broken": BROKEN}.get(numba, "")
    found = run(before + PROGRAM, **(package_without_cache if numba == "without a cache" else {}))
    assert found == ["numpy", compiled[1], *([] if numba == "absent" else ["FaninWarning"])]


@pytest.mark.slow
def test_a_large_fill_without_numba_says_once_what_would_be_faster():
    program = """
import warnings
import fanin.streams.cpu as cpu
cpu._LONG = 300_000
from fanin.streams import Draw, key
from fanin.streams.sampling import sample
for size in (299_999, 300_000, 400_000):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        sample(Draw(kind="normal"), key(0, "w"), (size,))
    print(*["fanin[fast]" in str(w.message) for w in seen] or ["silent"])
"""
    assert run(BLOCKED + program) == ["silent", "True", "silent"]
    assert run(program) == ["silent"] * 3


MEMORY = """
import resource, sys
import numpy as np
from fanin.streams import Draw, key
from fanin.streams.sampling import sample_into
dtype = sys.argv[1]
import ml_dtypes
out = np.zeros({count}, dtype)
small = np.zeros(1 << 19, dtype)
draw = Draw(kind="truncated_normal", lower=-2.0, upper=2.0)
out[:] = 0
sample_into(small, draw, key(0, "w"), threads=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sample_into(out, draw, key(0, "w"), threads=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("dtype", few(["float32", "bfloat16"], "float32"))
@pytest.mark.parametrize("engine", few(["numba", "numpy"], "numba"))
def test_a_fill_takes_less_than_eight_mebibytes(dtype, engine):
    count = "1 << 24" if engine == "numba" else "1 << 21"
    program = f"import sys; sys.argv = ['', {dtype!r}]\n" + MEMORY.format(count=count)
    program = program if engine == "numba" else "import warnings; warnings.simplefilter('ignore')\n" + BLOCKED + program
    assert int(run(program)[0]) < 8 * 1024


def test_importing_streams_loads_nothing_heavy():
    heavy = ["numba", "torch", "jax", "mpmath", "scipy", "ml_dtypes", "triton"]
    program = (
        f"import sys, fanin.streams.sampling, fanin.tensors.fill; print(*[m for m in {heavy} if m in sys.modules])"
    )
    assert run(program) == []
    assert run(program.replace("import sys,", "import numba, sys,"))[0] == "numba"
