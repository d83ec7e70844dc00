"""What every entry of the registry must keep to. A new entry is covered as soon as it has a case below."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import fanin
from fanin.errors import ArgumentError, DtypeError, LayoutError, ShapeError, UnknownNameError
from fanin.initializers import (
    ICNR,
    Bilinear,
    Centred,
    Constant,
    Initializer,
    Normal,
    Orthogonal,
    PerInput,
    PerPart,
    Scaled,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    Zeros,
    from_dict,
    get,
    he_normal,
    names,
)
from fanin.initializers.catalogue.from_array import from_array
from fanin.initializers.registry import ALIASES, LAWS, NAMES
from fanin.layout import Layout
from tests.selection import few


@dataclass(frozen=True)
class Case:
    arguments: dict
    shape: tuple[int, ...] = (48, 32)
    layout: Layout | None = None
    uses_key: bool = True
    needs_map: bool = True  # refuses a vector


def row_sums(**arguments):
    return {"law": Orthogonal(scaled=True), "of": "fc.weight", **arguments}


CONV = {"shape": (16, 8, 3, 4), "layout": Layout.conv(2)}
CASES: dict[str, list[Case]] = {
    "stft": [
        Case({}, shape=(16, 1, 9), uses_key=False),
        Case({"side": "imag", "scaling": "spectrum", "periodic": True}, shape=(12, 1, 7), uses_key=False),
    ],
    "constant": [Case({"value": 0.5}, uses_key=False, needs_map=False)],
    "zeros": [Case({}, uses_key=False, needs_map=False)],
    "ones": [Case({}, uses_key=False, needs_map=False)],
    "uniform": [
        Case({"bound": 0.1}, needs_map=False),
        Case({"low": -0.1, "high": 0.3}, needs_map=False),
        Case({"std": 0.1}, needs_map=False),
    ],
    "normal": [Case({"std": 0.02, "mean": 1.0}, needs_map=False)],
    "truncated_normal": [
        Case({"std": 0.02}, needs_map=False),
        Case({"std": 0.02, "compensated": False, "lower": -1.0}, needs_map=False),
        Case({"std": 0.02, "bounds": "absolute", "lower": -0.03, "upper": 0.05, "mean": 0.01}, needs_map=False),
    ],
    "variance_scaling": [
        Case({"gain": 2.0, "mode": mode, "law": law})
        for mode, law in (
            ("fan_in", "normal"),
            ("fan_out", "uniform"),
            ("fan_avg", "truncated_normal"),
            ("fan_geo", "normal"),
        )
    ],
    "glorot_normal": [Case({})],
    "glorot_uniform": [Case({})],
    "he_normal": [Case({}), Case({}, **CONV)],
    "he_uniform": [Case({})],
    "lecun_normal": [Case({})],
    "lecun_uniform": [Case({})],
    "classic_uniform": [Case({})],
    "classic_bias": [Case({"fan_in": 64.0}, needs_map=False)],
    "glorot_logistic": [Case({}), Case({"law": "normal"})],
    "rbm_gaussian": [Case({}, needs_map=False)],
    "orthogonal": [
        Case({}),
        Case({"gain": 2.0, "scaled": True}),
        Case({}, layout=Layout.linear(parts=3)),
        Case({}, layout=Layout.linear(parts=(16, 24, 8))),
        Case({"scaled": True}, shape=(3, 40, 8), layout=Layout.experts()),
        Case({}, shape=(16, 4, 3, 3), layout=Layout.conv(2, groups=4)),
    ],
    "delta_orthogonal": [Case({}, **CONV), Case({"scaled": True, "centre": "half"}, **CONV), Case({})],
    "conv_orthogonal": [Case({}, **CONV), Case({"scaled": True}, shape=(8, 16, 3)), Case({})],
    "mirrored_orthogonal": [
        Case({"side": "output"}),
        Case({"side": "input"}),
        Case({"side": "both"}),
        Case({"side": "both"}, **CONV),
        Case({"side": "both", "kernel": "full"}, **CONV),
        Case({"side": "both", "kernel": "flat", "scaled": False}, **CONV),
        Case({"side": "output"}, shape=(9, 24)),
        Case({"side": "both"}, shape=(25, 33)),
        Case({"side": "both"}, shape=(7, 24)),
        Case({"side": "input", "inputs_per_unit": 4}, shape=(10, 36)),
        Case({"side": "both", "kernel": "flat"}, shape=(9, 15, 3, 3)),
        Case({"side": "both", "kernel": "full"}, shape=(9, 15, 3, 3)),
    ],
    "row_sums": [
        Case(row_sums(size=(64, 32), factor=0.5), shape=(64,), uses_key=False, needs_map=False),
        Case(
            row_sums(size=(8, 96), layout=Layout.linear_in_out(), shift=2.0),
            shape=(96,),
            uses_key=False,  # the weight's name decides
            needs_map=False,
        ),
    ],
    "identity": [Case({"gain": 2.0}, uses_key=False), Case({}, layout=Layout.linear(parts=3), uses_key=False)],
    "dirac": [Case({}, **CONV, uses_key=False)],
    "sparse": [
        Case({"connections": 5}),
        Case({"kept": 0.1, "std": 0.5}),
        Case({"zeroed": 0.7, "per": "input"}),
        Case({"connections": 7, "per": "input"}, **CONV),
    ],
    "sparse_torch": [Case({"sparsity": 0.9})],
    "sparse_lasagne": [Case({})],
    "bilinear": [Case({}, **CONV, uses_key=False), Case({"factor": (2, 1)}, **CONV, uses_key=False)],
    "icnr": [Case({"law": he_normal(), "factor": 2}, **CONV)],
    "hadamard": [Case({}, uses_key=False), Case({"gain": 2.0}, **CONV, uses_key=False)],
    "centred": [Case({"law": he_normal()}), Case({"law": Uniform(bound=1.0), "compensated": False}, **CONV)],
    "scaled": [
        Case({"law": he_normal(), "factor": 0.5}),
        Case({"law": Normal(std=1.0), "factor": -0.5}, needs_map=False),
        Case({"law": get("orthogonal"), "factor": 0.5}),
    ],
    "per_part": [
        Case({"laws": (Zeros(), Normal(std=0.1), get("orthogonal"))}, layout=Layout.linear(parts=3), needs_map=False),
        Case(
            {"laws": (he_normal(), he_normal())},
            shape=(20, 64),
            layout=Layout.linear_in_out(parts=(24, 40)),
            needs_map=False,
        ),
    ],
    "per_input": [
        Case(
            {"laws": (he_normal(), get("orthogonal")), "sizes": (20, 44)}, shape=(32, 64), layout=Layout.linear(parts=2)
        ),
        Case({"laws": (Normal(std=0.1), Zeros()), "sizes": (24, 16)}, shape=(40, 20), layout=Layout.linear_in_out()),
    ],
    "siren_first": [Case({})],
    "siren_hidden": [Case({"omega": 20.0})],
    "forget_bias": [
        Case({}, shape=(64,), uses_key=False, needs_map=False),
        Case({"order": "rzn", "value": 2.0}, shape=(48,), uses_key=False, needs_map=False),
    ],
    "chrono_bias": [Case({"t_max": 50.0}, shape=(256,), needs_map=False)],
    "from_array": [
        Case(
            {"array": np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)},
            shape=(6, 4),
            uses_key=False,
            needs_map=False,
        )
    ],
    "peer_scaling": [Case({"peer": "torch"}), Case({"peer": "lasagne_c01b"}, shape=(3, 5, 5, 8), layout=Layout.c01b())],
    "poison": [Case({}, uses_key=False, needs_map=False)],
}
ALL = [pytest.param(name, case, id=f"{name}-{i}") for name, cases in CASES.items() for i, case in enumerate(cases)]
KEY = fanin.key(3, "layer.weight")


def made(name: str, case: Case) -> Initializer:
    return get(name, **case.arguments)


def test_every_name_has_a_case():
    assert set(CASES) == set(names())


def test_every_law_class_is_made_by_some_case():
    def inside(law: Initializer) -> set[str]:
        below = [getattr(law, "law", None), *getattr(law, "laws", ())]
        return {type(law).__name__}.union(*(inside(x) for x in below if isinstance(x, Initializer)))

    assert set().union(*(inside(made(n, c)) for n, cases in CASES.items() for c in cases)) == set(LAWS)


def test_aliases_lead_to_names():
    assert set(ALIASES.values()) <= set(NAMES)
    assert not set(ALIASES) & set(NAMES)


@pytest.mark.parametrize(("name", "case"), few(ALL, every=2))
@pytest.mark.parametrize(
    "dtype",
    few(
        ["float64", "float32", "bfloat16", "float16", "complex64", "complex128", np.float32, "torch.float32"],
        *("float64", "bfloat16", "complex64", "torch.float32"),
    ),
)
def test_shape_and_dtype(name, case, dtype):
    w = made(name, case).sample(case.shape, key=KEY, layout=case.layout, dtype=dtype)
    assert w.shape == case.shape
    assert w.dtype.name == (dtype if isinstance(dtype, str) else np.dtype(dtype).name).removeprefix("torch.")
    assert np.isfinite(w.astype(np.complex128)).all() == (name != "poison")


@pytest.mark.parametrize(("name", "case"), ALL)
def test_repeatable_and_a_function_of_the_key_alone(name, case):
    law, other = made(name, case), fanin.key(3, "another.weight")
    state = np.random.get_state()  # noqa: NPY002 - the global generator must not be used
    first = law.sample(case.shape, key=KEY, layout=case.layout)
    law.sample(case.shape, key=other, layout=case.layout)
    again = law.sample(case.shape, key=fanin.key(3, "layer.weight"), layout=case.layout)
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002
    changed = law.sample(case.shape, key=other, layout=case.layout)
    assert np.array_equal(first, changed, equal_nan=True) != case.uses_key


@pytest.mark.parametrize(("name", "case"), ALL)
def test_halves_are_the_rounded_float32_values(name, case):
    law = made(name, case)
    single = law.sample(case.shape, key=KEY, layout=case.layout, dtype="float32")
    for dtype in ("bfloat16", "float16"):
        half = law.sample(case.shape, key=KEY, layout=case.layout, dtype=dtype)
        np.testing.assert_array_equal(half.astype(np.float32), single.astype(half.dtype).astype(np.float32))


@pytest.mark.parametrize(("name", "case"), ALL)
def test_law_to_dict_to_law(name, case):
    law = made(name, case)
    assert from_dict(json.loads(json.dumps(law.to_dict()))) == law
    assert hash(law) == hash(from_dict(law.to_dict()))


@pytest.mark.parametrize(("name", "case"), ALL)
def test_text_is_short_and_names_the_class(name, case):
    assert str(made(name, case)).startswith(type(made(name, case)).__name__ + "(")


@pytest.mark.parametrize(("name", "case"), ALL)
def test_values_stay_within_the_bound(name, case):
    law = made(name, case)
    bound = law.bound_for(case.shape, case.layout)
    if bound is not None:
        w = law.sample(case.shape, key=KEY, layout=case.layout, dtype="float64")
        assert np.abs(w).max() <= bound * (1.0 + 1e-12)


@pytest.mark.parametrize(("name", "case"), [p for p in ALL if p.values[1].needs_map])
def test_a_vector_is_refused_before_anything_is_drawn(name, case):
    law = made(name, case)
    for attempt in (law.check, law.std_for, lambda shape: law.sample(shape, key=KEY)):
        with pytest.raises(ShapeError, match=r"\(5,\)"):
            attempt((5,))


@pytest.mark.parametrize(("name", "case"), [p for p in ALL if p.values[1].needs_map])
def test_a_layout_of_another_rank_is_refused(name, case):
    with pytest.raises(LayoutError, match="axes"):
        made(name, case).sample(case.shape, key=KEY, layout=Layout.conv(3))


@pytest.mark.parametrize(("name", "case"), ALL)
def test_integers_and_quantised_dtypes(name, case):
    law = made(name, case)
    exact = name in ("zeros", "ones")
    for dtype in ("int64", "uint8"):
        if exact:
            assert law.sample(case.shape, key=KEY, layout=case.layout, dtype=dtype).dtype == dtype
        else:
            with pytest.raises(DtypeError, match=dtype):
                law.sample(case.shape, key=KEY, layout=case.layout, dtype=dtype)
    if name != "from_array":  # given numbers may be rounded to anything that holds them
        with pytest.raises(DtypeError, match="float8_e4m3fn"):
            law.sample(case.shape, key=KEY, layout=case.layout, dtype="float8_e4m3fn")


@pytest.mark.parametrize("shape", [(3, -1), (2.5, 3), 7, (True, 2)])
def test_shapes_are_checked(shape):
    with pytest.raises(ShapeError, match="shape"):
        Zeros().sample(shape, key=KEY)


def test_scalars_take_laws_that_need_no_fans():
    assert Constant(2.0).sample((), key=KEY) == np.float32(2.0)
    assert Normal().sample((), key=KEY).shape == ()
    with pytest.raises(LayoutError, match="scalar has no axes"):
        he_normal().sample((), key=KEY)


def test_an_empty_weight_has_no_fan():
    with pytest.raises(ShapeError, match="without inputs"):
        he_normal().sample((4, 0), key=KEY)
    assert Normal().sample((4, 0), key=KEY).shape == (4, 0)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Normal(std=-1.0), "std must be >= 0"),
        (lambda: Normal(std=math.inf), "std must be a finite number"),
        (lambda: Normal(std="1"), "std must be a finite number"),
        (lambda: Uniform(), "exactly one of"),
        (lambda: Uniform(bound=1.0, std=1.0), "exactly one of"),
        (lambda: Uniform(low=1.0), "exactly one of"),
        (lambda: Uniform(bound=-1.0), "must not be reversed"),
        (lambda: get("truncated_normal", std=0.0), "std must be > 0"),
        (lambda: get("truncated_normal", lower=2.0, upper=1.0), "lower < upper"),
        (lambda: get("truncated_normal", bounds="sigma"), "bounds must be one of"),
        (lambda: get("variance_scaling", mode="fan"), "mode must be one of 'fan_in'"),
        (lambda: get("variance_scaling", law="cauchy"), "law must be one of"),
        (lambda: get("sparse"), "exactly one of connections"),
        (lambda: get("sparse", connections=0), "integer >= 1"),
        (lambda: get("sparse", kept=1.5), "kept is a fraction"),
        (lambda: get("bilinear", factor=0), "factor must be an integer"),
        (lambda: get("icnr", law=Normal(), factor=0), "factor must be an integer"),
        (lambda: get("mirrored_orthogonal", side="left"), "side must be one of"),
        (lambda: get("mirrored_orthogonal", side="input", inputs_per_unit=0), "whole number >= 1"),
        (lambda: get("chrono_bias", t_max=1.0), "t_max must be > 2"),
        (lambda: get("forget_bias", order="ifg"), "each gate once"),
        (lambda: Constant(math.nan), "value must be a finite number"),
        (lambda: PerPart(()), "one or more laws"),
        (lambda: PerPart((1.0,)), "one or more laws"),
        (lambda: PerInput((), ()), "one or more laws"),
        (lambda: PerInput((Zeros(),), (4, 4)), "one positive number of inputs"),
        (lambda: Centred(get("mirrored_orthogonal", side="both")), "uncorrelated"),
        (lambda: Scaled(Normal(), math.nan), "factor must be a finite number"),
        (lambda: from_array(np.array(["a"])), "array of NumPy numbers"),
        (lambda: from_dict({"initializer": "Constant"}), r"needs \['value'\]"),
        (lambda: from_dict({"std": 1.0}), "names its class"),
        (lambda: from_dict({"initializer": "Normal", "variance": 1.0}), "no field"),
        (lambda: get("siren_hidden", omega=0.0), "omega must be > 0"),
        (lambda: get("classic_bias", fan_in=0), "fan_in must be > 0"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_allowed(make, match):
    with pytest.raises(ArgumentError, match=match):
        make()


@pytest.mark.parametrize(
    ("law", "shape", "match"),
    [
        (get("sparse", connections=40), (8, 32), "at most 32"),
        (get("identity"), (8, 8, 3), "Use Dirac"),
        (get("bilinear"), (8, 8), "no tap axes"),
        (get("bilinear", factor=3), (8, 8, 4), "at least 5 taps"),
        (get("bilinear", factor=(2, 2)), (8, 8, 4), "one for each"),
        (get("icnr", law=Normal(), factor=2), (6, 3, 3, 3), "multiple of 4"),
        (get("mirrored_orthogonal", side="output"), (1, 4), "at least two units"),
        (get("mirrored_orthogonal", side="input"), (4, 1), "at least two units"),
        (get("mirrored_orthogonal", side="input", inputs_per_unit=4), (4, 4), "at least two units"),
        (get("mirrored_orthogonal", side="input", inputs_per_unit=4), (4, 18), "multiple of inputs_per_unit"),
        (Centred(Normal()), (4, 1), "nothing would be left"),
        (get("row_sums", **row_sums(size=(8, 4))), (4,), "one number for each unit"),
        (get("row_sums", **row_sums(size=(8, 4), layout=Layout.linear(parts=2))), (8,), "one map"),
        (get("forget_bias"), (10,), "4 gates side by side"),
        (get("forget_bias"), (8, 2), "4 gates side by side"),
        (from_array(np.zeros((2, 3))), (3, 2), "nothing is broadcast"),
        (PerPart((Zeros(), Zeros())), (4, 4), "2 laws for a layout of 1 parts"),
        (PerInput((Zeros(), Zeros()), (2, 3)), (4, 4), "whose one input axis has 5 entries"),
        (get("orthogonal"), (0, 4), "empty shape"),
    ],
)
def test_shapes_that_a_law_has_no_meaning_for(law, shape, match):
    with pytest.raises(ShapeError, match=match):
        law.check(shape)
    with pytest.raises(ShapeError, match=match):
        law.sample(shape, key=KEY)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="did you mean 'he_normal'"):
        get("he_norml")
    with pytest.raises(UnknownNameError, match="did you mean 'Normal'"):
        from_dict({"initializer": "Norml"})


def test_numbers_too_large_for_a_half_are_refused():
    for law in (Constant(1e6), Normal(std=1e5), get("orthogonal", gain=1e7), Scaled(get("orthogonal"), 1e7)):
        with pytest.raises(DtypeError, match="float16"):
            law.sample((64, 64), key=KEY, dtype="float16")


numbers = st.floats(1e-3, 1e3)
plain_laws = st.one_of(
    st.builds(Constant, st.floats(-1e6, 1e6)),
    st.builds(Normal, std=numbers, mean=st.floats(-10.0, 10.0)),
    st.builds(Uniform, bound=numbers),
    st.builds(TruncatedNormal, std=numbers, lower=st.floats(-4.0, -0.5), upper=st.floats(0.5, 4.0)),
    st.builds(
        VarianceScaling,
        gain=numbers,
        mode=st.sampled_from(["fan_in", "fan_out", "fan_avg", "fan_geo"]),
        law=st.sampled_from(["normal", "uniform", "truncated_normal"]),
    ),
    st.builds(Orthogonal, gain=numbers, scaled=st.booleans()),
    st.builds(Sparse, connections=st.integers(1, 50), std=numbers),
    st.builds(
        Bilinear, factor=st.one_of(st.none(), st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4)))
    ),
    arrays(np.float32, array_shapes(max_dims=3, max_side=4)).map(from_array),
)
any_law = st.recursive(
    plain_laws,
    lambda inner: st.one_of(
        st.builds(Scaled, inner, st.floats(-10.0, 10.0)),
        st.lists(inner, min_size=1, max_size=4).map(lambda laws: PerPart(tuple(laws))),
        st.builds(ICNR, inner, st.integers(1, 4)),
    ),
    max_leaves=6,
)


@given(any_law)
def test_any_law_nested_to_any_depth_comes_back_from_json(law):
    again = from_dict(json.loads(json.dumps(law.to_dict())))
    assert again == law
    assert str(again) == str(law)
