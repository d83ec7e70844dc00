"""The definition: published known answers, the written test vector, and accuracy against independent arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import fanin
from fanin.errors import ArgumentError, DtypeError, ShapeError
from fanin.streams import Draw, reference, reference64
from fanin.streams.boxes import Box
from fanin.streams.dtypes import bfloat16_bits, fill_dtype
from fanin.streams.law import prepare
from fanin.streams.sampling import sample, unit_words

Q_PROJ, FC1 = "model.layers.0.self_attn.q_proj.weight", "fc1.weight"
M32 = 0xFFFFFFFF


def hexes(text: str) -> list[int]:
    return [int(h, 16) for h in text.split()]


# Written down when the stream was defined; a change here is a change of everybody's weights.
VECTORS = [
    (0, Q_PROJ, 0, ("2217d2a0bc30f79c", "4442bb3d", "09e7e511"),
     "84388816 50a79047 9b2cd359 717e725d 6e053430 65720aab 35959bb0 f0e662a2",
     "3d071110 bebd61be 3e59669c bde818d8 be0fd65c be546fac bf14d4c9 3f61ccc5",
     "3d295434 bef68ff1 3e89e26d be11f014 be353702 be86a945 bf4f0dbf 3fc81c02"),
    (7, FC1, 17179881528, ("1bfcae71dd264767", "c7e44603", "2c5ae526"),
     "4ae49233 cc292687 908a45fb 7c1b18bd 246508d4 cc71f5fe 6d1da630 2b99fccc",
     "bed46db6 3f18524d 3e04522c bcf939e0 bf3735ef 3f18e3eb be1712cc bf28cc07",
     "bf0bc35e 3f552e1e 3e269250 bd1c378c bf890a97 3f5630b0 be3e6f3f bf73f1c3"),
]  # fmt: skip


@pytest.mark.parametrize(("seed", "name", "start", "key", "words", "uniforms", "normals"), VECTORS)
def test_the_test_vector(seed, name, start, key, words, uniforms, normals):
    stream = fanin.key(seed, name)
    assert (f"{stream.key64:016x}", f"{stream.c2:08x}", f"{stream.c3:08x}") == key
    drawn = reference.words(stream, start, 8)
    assert drawn.tolist() == hexes(words)
    assert reference.words_at(stream, np.arange(start, start + 8)).tolist() == hexes(words)
    assert reference.uniform(drawn).view(np.uint32).tolist() == hexes(uniforms)
    assert reference.normal(drawn).view(np.uint32).tolist() == hexes(normals)


# Random123's kat_vectors, philox4x32-10: counter, key, result.
KNOWN = [
    ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_known_answers(counter, key, result):
    k0, k1 = hexes(key)
    words = reference.philox4x32(tuple(np.array([c], np.uint64) for c in hexes(counter)), k0 | k1 << 32)
    assert [int(w[0]) for w in words] == hexes(result)


def philox_by_hand(key, index: int) -> int:
    """A second writing of the generator, in Python integers."""
    block, x2, x3 = index >> 2, key.c2, key.c3
    x0, x1, k0, k1 = block & M32, block >> 32, key.key64 & M32, key.key64 >> 32
    for _ in range(10):
        p, q = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = (q >> 32) ^ x1 ^ k0, q & M32, (p >> 32) ^ x3 ^ k1, p & M32
        k0, k1 = (k0 + 0x9E3779B9) & M32, (k1 + 0xBB67AE85) & M32
    return (x0, x1, x2, x3)[index & 3]


@pytest.mark.parametrize("index", [0, 1, 6, 2**34 - 1, 2**34 + 3, 2**40 + 9])
def test_words_are_those_of_a_second_writing(index):
    key = fanin.key(5, "w")
    assert int(reference.words_at(key, [index])[0]) == philox_by_hand(key, index)


def spread_words(count: int) -> np.ndarray:
    """Words all over the range, dense at both ends and in the middle."""
    rng = np.random.default_rng(0)
    small = (2.0 ** rng.uniform(0, 31, count)).astype(np.uint64)
    return np.concatenate(
        [rng.integers(0, 2**32, count, dtype=np.uint64), small, M32 - small, (1 << 31) + small - 1]
    ).astype(np.uint32)


def test_normals_are_the_inverse_distribution_function():
    words = spread_words(300_000)
    wanted = -special.ndtri((M32 - words.astype(np.float64) + 0.5) * 2.0**-32)
    low = words < 1 << 31
    wanted[low] = special.ndtri((words[low].astype(np.float64) + 0.5) * 2.0**-32)
    error = np.abs(reference.normal(words) / wanted - 1.0)
    assert error.max() < 4.3e-7
    assert np.abs(reference.normal(words)).max() < 6.3380
    assert reference.normal(np.array([0, M32], np.uint32)).tolist() == pytest.approx([-6.337958, 6.337958], abs=1e-6)


def test_double_normals_are_accurate_and_refine_single_ones():
    key, index = fanin.key(1, "w"), np.arange(200_000)
    word = reference64.words64_at(key, index)
    wide, narrow = reference64.normal64(word), reference.normal(reference.words_at(key, index))
    negative = word < np.uint64(1 << 63)
    wanted = special.ndtri((np.where(negative, word, ~word).astype(np.float64) + 0.5) * 2.0**-64)
    assert np.abs(wide - np.where(negative, wanted, -wanted)).max() < 2e-15 * 9
    density = np.exp(-(wide**2) / 2.0) / np.sqrt(2.0 * np.pi)
    assert (np.abs(wide - narrow) < 2.0**-32.9 / density + 4.3e-7 * np.abs(wide)).all()
    assert (
        np.abs(reference64.uniform64(word) - reference.uniform((word >> np.uint64(32)).astype(np.uint32))).max()
        < 2.0**-23
    )
    ends = reference64.normal64(np.array([0, 2**64 - 1, 2**63, 2**63 - 1], np.uint64))
    assert ends[0] == -ends[1] == pytest.approx(-9.155293772686074, abs=1e-14)
    assert ends[2] == -ends[3] > 0


def test_uniform_and_normal_of_one_word_have_the_same_rank():
    words = np.sort(spread_words(10_000))
    assert (np.diff(reference.uniform(words)) >= 0).all()
    steps = np.diff(reference.normal(words).astype(np.float64))
    assert (steps > -5e-6).all()  # monotone up to rounding
    assert (np.sign(reference.uniform(words)) == np.sign(reference.normal(words))).all()
    assert np.abs(reference.uniform(words)).min() == 2.0**-24


def test_halves_are_the_rounded_singles():
    key = fanin.key(2, "w")
    single = sample(Draw(kind="normal", width=0.02), key, (100_000,))
    brain = sample(Draw(kind="normal", width=0.02), key, (100_000,), dtype="bfloat16")
    half = sample(Draw(kind="normal", width=0.02), key, (100_000,), dtype="float16")
    assert (brain == single.astype(brain.dtype)).all()
    assert (half == single.astype(np.float16)).all()
    assert (bfloat16_bits(single) == brain.view(np.uint16)).all()


def test_small_and_subnormal_halves_are_rounded_right():
    key = fanin.key(2, "w")
    for width in (1e-4, 1e-6, 3e-8):
        draw = Draw(kind="normal", width=width)
        assert (sample(draw, key, (50_000,), dtype="float16") == sample(draw, key, (50_000,)).astype(np.float16)).all()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_complex_numbers_have_the_second_moment_of_the_real_law(kind, dtype):
    z = sample(Draw(kind=kind, width=2.0, shift=1.0), fanin.key(0, "w"), (400_000,), dtype=dtype) - 1.0
    wanted = 4.0 if kind == "normal" else 4.0 / 3.0
    assert (np.abs(z) ** 2).mean() == pytest.approx(wanted, rel=5 / np.sqrt(400_000))
    assert abs((z**2).mean()) < 5 * wanted / np.sqrt(400_000)


def test_layers_do_not_depend_on_each_other():
    """The same bits whichever other parameters exist and in whatever order they are drawn."""
    names = [f"layers.{n}.weight" for n in range(5)]
    alone = {n: sample(Draw(kind="normal"), fanin.key(0, n), (50,)) for n in names}
    for order in (names[::-1], names[1:4], [*names, "layers.9.weight"]):
        for n in order:
            drawn = sample(Draw(kind="normal"), fanin.key(0, n), (50,))
            assert n not in alone or (drawn == alone[n]).all()
    stacked = np.stack(list(alone.values()))
    assert np.abs(np.corrcoef(stacked) - np.eye(5)).max() < 5 / np.sqrt(50)


def test_boxes_and_words():
    key = fanin.key(0, "w")
    assert (unit_words(key, (6, 8), box=[slice(2, 5), slice(1, 8, 3)]) == unit_words(key, (6, 8))[2:5, 1:8:3]).all()
    assert Box.of((), ()).size == 1
    assert sample(Draw(kind="normal"), key, ()).shape == ()
    assert sample(Draw(kind="normal"), key, (3, 0)).shape == (3, 0)
    with pytest.raises(ShapeError, match="one slice an axis"):
        Box.of((4, 4), [slice(None, None, -1)])
    with pytest.raises(ShapeError, match="at most 2"):
        Box.of((1 << 40, 1 << 40))


def test_refusals():
    with pytest.raises(DtypeError, match="int8"):
        fill_dtype("int8")
    with pytest.raises(DtypeError, match="float8_e4m3fn"):
        fill_dtype("torch.float8_e4m3fn")
    with pytest.raises(DtypeError, match="largest float16"):
        prepare(Draw(kind="uniform", width=7e4), "float16")
    with pytest.raises(ArgumentError, match="width must be finite"):
        Draw(kind="normal", width=float("nan"))
    with pytest.raises(ArgumentError, match="lower < upper"):
        Draw(kind="truncated_normal", lower=2.0, upper=2.0)
    with pytest.raises(ArgumentError, match="0 <= seed"):
        fanin.key(-1, "w")
