"""Slips in what a stream is given are said in one sentence, and a disabled compiler changes no bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import fanin
from fanin.errors import ArgumentError, DtypeError, FaninError, ShapeError
from fanin.initializers import Normal, Orthogonal, Sparse, Zeros, he_normal
from fanin.streams.sampling import sample, sample_into, unit_words
from fanin.streams.spec import Draw
from fanin.tensors.fill import fill_

KEY, DRAW = fanin.key(0, "w"), Draw(kind="normal")


def read_only(size):
    array = np.zeros((size, size), np.float32)
    array.setflags(write=False)
    return array


def fill(law=None, **arguments):
    return fill_(torch.zeros(4, 4), Normal() if law is None else law, **{"key": KEY, **arguments})


def into(out, **arguments):
    return sample_into(out, DRAW, KEY, **arguments)


SLIPS = {
    "no name": (lambda: fanin.key(0, None), "a name is text"),
    "bytes": (lambda: fanin.key(0, b"w"), "a name is text"),
    "surrogate": (lambda: fanin.key(0, "\ud800"), "text that UTF-8 can hold"),
    "no purpose": (lambda: fanin.key(0, "w", purpose=None), "a purpose is text"),
    "odd purpose": (lambda: KEY.for_purpose("\ud800"), "text that UTF-8 can hold"),
    "seed": (lambda: fanin.key(1.0, "w"), "a seed is an integer"),
    "key is a name": (lambda: fill(key="w"), r"a stream needs a key; got 'w'. Make one: fanin.key\(seed, 'w'\)"),
    "key is a seed": (lambda: sample(DRAW, 3, (2,)), "a stream needs a key; got 3"),
    "key of words": (lambda: unit_words("w", (2,)), "a stream needs a key"),
    "key of a law": (lambda: Zeros().sample((2, 2), key="w"), "a stream needs a key"),
    "key of Sparse": (lambda: Sparse(kept=0.5).sample((2, 2), key=None), "a stream needs a key"),
    "law is a name": (lambda: fill("he_normal"), r"got 'he_normal'. Write fanin.initializers.get\('he_normal'\)"),
    "law is a class": (lambda: fill(Normal), "a law is an initializer, or a Draw"),
    "law is 3": (lambda: fill(3), "a law is an initializer, or a Draw"),
    "draw is a law": (lambda: sample(Normal(), KEY, (2,)), "an elementwise law is a Draw"),
    "draw is a name": (lambda: sample("normal", KEY, (2,)), "an elementwise law is a Draw"),
    "layout is a name": (lambda: fill(he_normal(), layout="linear"), "layout is None or a Layout"),
    "layout of a law": (lambda: he_normal().sample((2, 2), key=KEY, layout="linear"), "layout is None or a Layout"),
    "layout of fans": (lambda: fanin.fans((2, 2), "linear"), "layout is None or a Layout"),
    "shape is text": (lambda: fill(shape="abc"), r"a shape holds integers >= 0; got \('a', 'b', 'c'\)"),
    "shape is 3.7": (lambda: sample(DRAW, KEY, (3.7,)), "a shape holds integers >= 0"),
    "shape is 3.0": (lambda: sample(DRAW, KEY, (3.0,)), "a shape holds integers >= 0"),
    "shape is true": (lambda: sample(DRAW, KEY, (True,)), "a shape holds integers >= 0"),
    "shape is 3": (lambda: sample(DRAW, KEY, 3), r"Write \(3,\) for a vector"),
    "shape is none": (lambda: sample(DRAW, KEY, None), "a shape is a sequence of sizes"),
    "shape of a law": (lambda: Orthogonal().sample((3.7, 2), key=KEY), "a shape holds integers"),
    "box of numbers": (lambda: fill(shape=(4, 4), box=(1,)), "a box is one slice an axis"),
    "box is a slice": (lambda: sample(DRAW, KEY, (3,), box=slice(0, 2)), "a box is one slice an axis"),
    "box is text": (lambda: sample(DRAW, KEY, (3,), box="ab"), "a box is one slice an axis"),
    "box of floats": (lambda: sample(DRAW, KEY, (3,), box=(slice(0.5, 2),)), "a box is one slice an axis"),
    "box of none": (lambda: sample(DRAW, KEY, (3,), box=(None,)), "a box is one slice an axis"),
    "box of dots": (lambda: sample(DRAW, KEY, (3,), box=(...,)), "a box is one slice an axis"),
    "box goes back": (lambda: sample(DRAW, KEY, (3,), box=(slice(None, None, -1),)), "steps >= 1"),
    "box too long": (lambda: sample(DRAW, KEY, (3,), box=(slice(None),) * 2), "for 1 axes"),
    "read-only": (lambda: into(read_only(3)), "the array is read-only"),
    "read-only, large": (lambda: into(read_only(600)), "the array is read-only"),
    "broadcast": (lambda: into(as_strided(np.zeros(1, np.float32), (3,), (0,))), "share their places"),
    "list": (lambda: into([1.0]), "written into a NumPy array; got list"),
    "tensor": (lambda: into(torch.zeros(3)), "written into a NumPy array; got Tensor"),
    "byte order": (lambda: into(np.zeros(3, np.dtype(np.float32).newbyteorder())), "byte order of another machine"),
    "dtype": (lambda: sample(DRAW, KEY, (3,), dtype=None), "cannot be drawn in dtype"),
    "threads -1": (lambda: into(np.zeros(3, np.float32), threads=-1), "threads is None or a whole number >= 1; got -1"),
    "threads 0": (lambda: fill(threads=0), "threads is None or a whole number >= 1; got 0"),
    "threads 1.5": (lambda: fill(threads=1.5), "threads is None or a whole number"),
    "threads true": (lambda: fill(threads=True), "threads is None or a whole number"),
    "threads '2'": (lambda: fill(threads="2"), "threads is None or a whole number"),
    "kind": (lambda: Draw(kind="gauss"), "kind is one of 'uniform', 'normal'"),
    "width": (lambda: Draw(kind="normal", width="1"), "are numbers"),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_said_in_our_words(slip):
    job, words = SLIPS[slip]
    with pytest.raises(FaninError, match=words) as error:
        job()
    assert isinstance(error.value, ArgumentError | DtypeError | ShapeError)
    assert len(str(error.value)) < 400


def test_nothing_was_written_before_the_slip_was_found():
    tensor = torch.ones(4, 4)
    for wrong in ({"key": "w"}, {"threads": 0}, {"shape": "abc"}, {"layout": 3}, {"box": (1,), "shape": (4, 4)}):
        with pytest.raises(FaninError):
            fill_(tensor, Normal(), **{"key": KEY, **wrong})
    assert bool((tensor == 1).all())


junk = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 5), st.floats(), st.text(max_size=3), st.binary(max_size=2),
    st.lists(st.integers(-2, 4), max_size=3), st.tuples(st.slices(4)), st.builds(dict), st.just(...), st.just(Normal),
    st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=2), st.slices(3)), max_size=3),
)  # fmt: skip


@settings(deadline=None)
@given(junk, junk, junk, junk)
def test_whatever_is_given_the_answer_is_numbers_or_our_error(shape, box, key, threads):
    for job in (
        lambda: sample(DRAW, KEY, shape, box=box),
        lambda: sample(DRAW, key, (2, 2)),
        lambda: fill(shape=shape, box=box),
        lambda: fill(threads=threads),
        lambda: fanin.key(0, key),
        lambda: fanin.key(key, "w"),
        lambda: Normal().sample(shape, key=KEY),
    ):
        try:
            job()
        except FaninError:
            continue


def test_an_array_without_elements_shares_no_places():
    into(as_strided(np.zeros(1, np.float32), (0, 3), (0, 0)))


def test_sizes_of_other_kinds_are_sizes():
    want = sample(DRAW, KEY, (2, 3))
    for shape in ([2, 3], np.array([2, 3]), torch.Size([2, 3]), (np.int64(2), np.uint8(3))):
        assert np.array_equal(sample(DRAW, KEY, shape), want)
    part = sample(DRAW, KEY, (2, 3), box=[slice(np.int64(1), None)])
    assert np.array_equal(part, want[1:])


BITS = """
import hashlib, warnings
import numpy as np
import fanin
from fanin.initializers import Normal, Orthogonal, Sparse, TruncatedNormal, Uniform
warnings.simplefilter("ignore")
state = hashlib.blake2b()
for law in (Sparse(kept=0.25), Sparse(connections=3, per="input"), Normal(), Uniform(bound=1.0), TruncatedNormal()):
    for dtype in ("float32", "complex64", "float64"):
        for shape in ((640, 512), (7, 5)):
            values = law.sample(shape, key=fanin.key(0, "w"), dtype=dtype)
            state.update(np.ascontiguousarray(values).view(np.uint8).tobytes())
from fanin.streams import cpu
print(cpu.cpu_engine(), state.hexdigest())
"""


def test_the_same_bits_without_the_compiler(capsys):
    """Debuggers and coverage runs disable numba's compiler; then NumPy draws, Sparse included."""
    exec(BITS, {})  # in this process, which has the compiler
    compiled = capsys.readouterr().out.split()
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1]), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", BITS], env=env, capture_output=True, text=True, check=True)
    assert compiled[0] == "numba"
    assert done.stdout.split() == ["numpy", compiled[1]]


def test_one_warning_says_why_the_compiler_is_not_used():
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1]), "NUMBA_DISABLE_JIT": "1"}
    code = (
        "import fanin; from fanin.initializers import Sparse\n"
        "for i in range(3): Sparse(kept=0.5).sample((600, 600), key=fanin.key(0, str(i)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "NUMBA_DISABLE_JIT is set" in done.stderr
    assert done.stderr.count("FaninWarning") <= 3
