"""Every quantity against a slow, obvious twin that looks at all elements with NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from fanin.measure.quantities.activity import activity, expected_dead_share
from fanin.measure.quantities.attention import attention_from_logits, attention_from_qk
from fanin.measure.quantities.constancy import constant_share
from fanin.measure.quantities.cosine import cosine, token_cosine
from fanin.measure.quantities.inputs import input_record
from fanin.measure.quantities.moments import pack, pack_signal, unpack
from fanin.measure.quantities.norm import norm_record
from fanin.measure.quantities.saturation import saturation
from fanin.measure.quantities.symmetry import identical_rows
from fanin.measure.sampling import SAMPLE, as_samples, strided, thinned
from tests.reference import quantities as slow

SEEDS = (0, 1, 2)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_moments_of_a_small_tensor_are_exact(seed):
    x = 3 * normal(50, 40, seed=seed) - 1
    got, want = unpack(pack(x)), slow.moments(x.numpy())
    for name, value in want.items():
        assert getattr(got, name) == pytest.approx(value, rel=1e-5, abs=1e-9), name


@pytest.mark.parametrize("reduce", [pack, pack_signal])
@pytest.mark.parametrize("seed", SEEDS)
def test_moments_of_a_large_tensor_are_within_five_standard_errors(seed, reduce):
    x = normal(64, 48, 40, 40, seed=seed)
    got = unpack(reduce(x))
    assert got.rms == pytest.approx(slow.moments(x.numpy())["rms"], rel=5e-4)  # all elements, summed in float32
    assert got.sampled <= SAMPLE
    assert abs(got.std**2 - 1) < 5 * math.sqrt(2 / got.sampled)
    assert abs(got.mean) < 5 / math.sqrt(got.sampled)


@pytest.mark.parametrize(("reduce", "wrong"), [(pack, 1.06), (pack_signal, 1.12)])
def test_the_statistical_check_sees_a_wrong_std(reduce, wrong):
    got = unpack(reduce(wrong * normal(64, 48, 40, 40)))
    assert abs(got.std**2 - 1) > 5 * math.sqrt(2 / got.sampled)


def test_a_signal_is_sampled_less_only_where_it_is_large_and_wide():
    large, small = torch.zeros(1 << 19), torch.zeros(1 << 18)
    sampled = [unpack(pack_signal(x)).sampled for x in (large, large.half(), small)]
    assert sampled[0] <= SAMPLE // 4
    assert min(sampled[1:]) > SAMPLE // 2


def test_the_std_of_a_large_gradient_that_few_entries_hold_is_that_of_all_of_them():
    x = torch.zeros(64, 97, 101)
    x[:, 0] = 3 * normal(64, 101)
    x[5, 6, 7] = 1e4  # in no sample: it moves the std alone
    got, want = unpack(pack_signal(x)), float(x.double().std(unbiased=False))
    assert got.std == pytest.approx(want, rel=1e-3)
    assert got.max < 1e3


def test_the_std_about_a_large_mean_is_that_of_the_sample():
    x = 1000 + normal(64, 97, 101)
    assert unpack(pack_signal(x)).std == pytest.approx(1.0, abs=5 * math.sqrt(0.5 / (SAMPLE // 4)))


def test_a_signal_that_is_not_finite_in_one_place_is_seen_as_such():
    x = torch.zeros(1 << 19)
    x[12345] = math.nan
    assert unpack(pack_signal(x)).any_nonfinite


def test_tiny_values_do_not_vanish_in_their_squares():
    got = unpack(pack(torch.full((100,), 1e-30)))
    assert got.rms == pytest.approx(1e-30, rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_element_among_a_million_is_seen(bad):
    x = normal(1000, 1000)
    x[712, 33] = bad
    assert unpack(pack(x)).any_nonfinite
    assert not unpack(pack(normal(1000, 1000))).any_nonfinite


@pytest.mark.parametrize("size", [3e20, 1e-30])
def test_sizes_whose_squares_leave_float32_are_neither_bad_nor_lost(size):
    got = unpack(pack(torch.full((100, 30), size)))
    assert not got.any_nonfinite
    assert got.rms == pytest.approx(size, rel=1e-6)


def test_histograms_count_every_sampled_element_once():
    x = torch.cat([normal(5000), torch.zeros(100), torch.tensor([1e-20, 1e20, math.nan])])
    got = unpack(pack(x))
    assert sum(got.exponents.counts) + got.exponents.under == got.sampled - 1
    assert sum(got.values.counts) + got.values.under + got.values.over == got.sampled - 1
    assert got.exponents.under == 100
    want = slow.exponents(x.numpy())
    found = {int(got.exponents.low) + i: n for i, n in enumerate(got.exponents.counts) if n}
    assert found == want


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    x = normal(100, 100).to(dtype)
    assert unpack(pack(x)).rms == pytest.approx(slow.moments(x.double().numpy())["rms"], rel=1e-3)


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    order=st.permutations(range(4)),
    budget=st.integers(1, 200),
)
@settings(max_examples=60, deadline=None)
def test_a_strided_sample_holds_elements_of_the_tensor(shape, order, budget):
    x = torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)
    x = x.permute([o for o in order if o < len(shape)])
    got = strided(x, budget)
    assert 1 <= len(got) <= budget
    assert len(set(got.tolist())) == len(got)


def test_expanded_and_sliced_tensors_are_sampled_too():
    assert set(strided(normal(7, 1).expand(7, 100), 50).tolist()) <= set(normal(7, 1).flatten().tolist())
    assert len(strided(normal(40, 40)[::2, ::3], 100)) <= 100


def test_no_channel_is_left_out_for_ever():
    x = torch.zeros(32, 197, 192)
    x[..., 7] = 1
    assert strided(x).sum() > 0


def test_thinning_keeps_the_axes_it_must():
    x = normal(16, 64, 30, 30)
    got = thinned(x, 5000, keep=(0, 1))
    assert got.shape[:2] == x.shape[:2]
    assert got.numel() <= 5000 or got.shape[2:] == (1, 1)


def test_samples_are_found_on_axis_0_or_1_or_regrouped():
    assert as_samples(normal(8, 5), 8).shape == (8, 5)
    assert as_samples(normal(5, 8, 3), 8).shape == (8, 5, 3)
    assert as_samples(normal(32, 5), 8).shape == (8, 4, 5)
    assert as_samples(normal(7, 5), 8) is None


@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
def test_cosines_are_the_mean_over_all_pairs(offset):
    x = normal(12, 300) + offset
    got, want = cosine(x), slow.cosine(x.numpy())
    assert got.one_minus_mean == pytest.approx(want["one_minus_mean"], rel=1e-6)
    assert got.between_share == pytest.approx(want["between_share"], rel=1e-6)
    assert np.allclose(got.matrix, want["matrix"], atol=1e-5)


def test_a_collapse_is_seen_below_rounding():
    x = torch.ones(8, 100, dtype=torch.float64) + 1e-9 * normal(8, 100).double()
    assert cosine(x).one_minus_mean == pytest.approx(1e-18, rel=0.2)


def test_a_zero_sample_is_left_out_and_one_alone_is_none():
    x = normal(4, 30)
    x[1] = 0
    assert cosine(x).num_samples == 3
    assert cosine(normal(1, 30)) is None


def test_token_cosine_is_the_cosine_of_rows():
    x = normal(20, 32) + 0.5
    assert token_cosine(x) == pytest.approx(1 - slow.cosine(x.numpy())["one_minus_mean"], rel=1e-6)


def test_saturation_counts_the_flat_part():
    y = torch.tanh(8 * normal(100, 100))
    assert saturation(y, low=-0.97, high=0.97).share == pytest.approx(
        (y.abs() >= 0.97).double().mean().item(), abs=1e-9
    )


@pytest.mark.parametrize("shape", [(16, 40), (8, 12, 9, 9)])
def test_activity_is_the_share_of_positions(shape):
    axis = 1
    y = torch.relu(normal(*shape) - 0.5)
    y.select(axis, 3).zero_()
    got = activity(y, axis=axis, num_samples=shape[0], cosine=0.0)
    want = slow.activity(y.numpy(), axis)
    assert got.dead_share == pytest.approx((want == 0).mean())
    assert got.active[0] == pytest.approx(want.min())
    assert got.active[-1] == pytest.approx(want.max())


@pytest.mark.parametrize(("c", "n"), [(0.0, 4), (0.3, 8), (0.9, 32), (0.99, 256)])
def test_the_expected_dead_share_is_the_integral_and_the_frequency(c, n):
    def inside(z):
        return stats.norm.pdf(z) * stats.norm.cdf(-z * math.sqrt(c / (1 - c))) ** n

    want = integrate.quad(inside, -12, 12, limit=400, epsabs=1e-12)[0]
    assert expected_dead_share(c, n) == pytest.approx(want, abs=1e-6)
    rng = np.random.default_rng(0)
    units = 200_000
    h = math.sqrt(c) * rng.standard_normal((units, 1)) + math.sqrt(1 - c) * rng.standard_normal((units, min(n, 32)))
    if n <= 32:
        seen = (h <= 0).all(1).mean()
        assert abs(seen - want) < 5 * math.sqrt(want * (1 - want) / units) + 1e-9


def test_attention_logits_are_rated_row_by_row():
    q, k = normal(2, 3, 20, 16), normal(2, 3, 20, 16, seed=1)
    logits = q @ k.transpose(-1, -2) / 4
    want = slow.attention(logits.numpy())
    for got in (attention_from_qk(q, k, mask=None, causal=False, factor=None), attention_from_logits(logits)):
        assert got.num_keys == 20
        assert np.allclose(got.logit_std, want["logit_std"], rtol=1e-5)
        assert np.allclose(got.entropy, want["entropy"], rtol=1e-5)
        apart = slow.attention((logits[:1] - logits[1:]).numpy())["row_variance"] / 2
        least = np.minimum(want["row_variance"], apart).mean((0, 2))  # what differs between two samples, and no more
        assert np.allclose(got.condensation, least / math.log(20), rtol=1e-5)


@pytest.mark.parametrize("low", [-100.0, -1e4, -math.inf, torch.finfo(torch.float32).min])
def test_masked_keys_do_not_count(low):
    logits = normal(2, 3, 20, 20)
    masked = logits.clone()
    masked[..., 12:] = low
    got, want = attention_from_logits(masked), slow.attention(logits[..., :12].numpy())
    assert got.num_keys == 12
    assert np.allclose(got.logit_std, want["logit_std"], rtol=1e-4)


@pytest.mark.parametrize("rows", [20, 150])
@pytest.mark.parametrize("shape", ["rows and keys", "one for all heads", "one a sample"])
def test_a_causal_mask_is_the_same_as_being_causal(rows, shape):
    """Also where not all of its rows are looked at."""
    q, k = normal(2, 3, rows, 16), normal(2, 3, rows, 16, seed=1)
    mask = torch.ones(rows, rows, dtype=torch.bool).tril()
    mask = {"rows and keys": mask, "one for all heads": mask[None], "one a sample": mask.expand(2, 1, rows, rows)}[
        shape
    ]
    asked = attention_from_qk(q, k, mask=None, causal=True, factor=None)
    for passed in (mask, torch.zeros(mask.shape).masked_fill(~mask, -math.inf)):
        assert attention_from_qk(q, k, mask=passed, causal=False, factor=None) == asked


def test_one_row_that_sees_enough_keys_is_enough():
    """Of eight causal rows the last one alone sees eight keys."""
    q, k = normal(1, 3, 8, 16), normal(1, 3, 8, 16, seed=1)
    got = attention_from_qk(q, k, mask=None, causal=True, factor=None)
    last = (q[..., -1:, :].double() @ k.double().transpose(-1, -2) / 4.0)[0, :, 0]
    assert got.num_keys == 8
    assert np.allclose(got.logit_std, last.std(-1, unbiased=False), rtol=1e-5)


def test_a_mask_over_keys_alone_hides_them_in_every_row():
    q, k = normal(2, 3, 100, 16), normal(2, 3, 100, 16, seed=1)
    mask = (torch.arange(100) < 12)[None, None, None].expand(2, 1, 1, 100)
    got = attention_from_qk(q, k, mask=mask, causal=False, factor=None)
    assert got == attention_from_qk(q, k[:, :, :12], mask=None, causal=False, factor=None)
    assert got.num_keys == 12


def test_a_condensed_head_is_not_taken_for_a_mask():
    got = attention_from_logits(30 * normal(2, 4, 49, 49))
    assert min(got.logit_std) > 25


def test_grouped_queries_share_their_keys():
    q, k = normal(2, 4, 10, 8), normal(2, 2, 10, 8, seed=1)
    got = attention_from_qk(q, k, mask=None, causal=False, factor=1.0)
    want = attention_from_qk(q, k.repeat_interleave(2, 1), mask=None, causal=False, factor=1.0)
    assert got == want


@pytest.mark.parametrize(
    ("kind", "shape", "axes", "values"),
    [
        ("batch_norm", (8, 6, 5, 5), (0, 2, 3), 200),
        ("layer_norm", (8, 6, 32), (2,), 32),
        ("instance_norm", (8, 6, 5, 5), (2, 3), 25),
    ],
)
def test_the_variance_a_norm_divides_by(kind, shape, axes, values):
    x = 0.3 * normal(*shape) + 2
    got = norm_record(x, kind=kind, training=True, eps=1e-5)
    assert got.values_per_statistic == values
    assert got.input_var == pytest.approx(np.median(x.double().numpy().var(axis=axes)), rel=0.02)


def test_rms_norm_divides_by_the_mean_square():
    x = normal(8, 64) + 2
    got = norm_record(x, kind="rms_norm", training=True, eps=1e-6)
    assert got.input_var == pytest.approx(float(x.square().mean(-1).median()), rel=1e-5)


@pytest.mark.parametrize("copies", [0, 2, 10, 64])
def test_identical_rows_are_counted(copies):
    w = normal(64, 40)
    if copies:
        w[:copies] = w[0]
    assert identical_rows(w) == pytest.approx(slow.identical_rows(w.numpy()))


@pytest.mark.parametrize("units", [(1,), (0, 1), (2,)])
def test_identical_units_are_counted_along_the_axes_of_outputs(units):
    w = normal(6, 8, 5, 3)
    rows = w.movedim(units, tuple(range(len(units)))).flatten(0, len(units) - 1)
    rows = rows.flatten(1).clone()
    assert identical_rows(w, units) == 0.0
    rows[:3] = rows[0]
    sizes = [w.shape[u] for u in units] + [n for d, n in enumerate(w.shape) if d not in units]
    w = rows.reshape(sizes).movedim(tuple(range(len(units))), units)
    assert identical_rows(w, units) == pytest.approx(slow.identical_rows(rows.numpy()))


def test_constant_channels_are_counted():
    x = normal(8, 20, 6, 6)
    x[:, :5] = 3
    assert constant_share(x, axis=1) == 0.25
    x[0, 0, 0, 0] = 4
    assert constant_share(x, axis=1) == 0.2


def test_input_features():
    x = normal(200, 10) * torch.tensor([1000.0] + [1.0] * 9)
    x[:, 9] = 5
    got = input_record("x", x, gradient=None, normalised_first=False)
    assert got.constant_feature_share == pytest.approx(0.1)
    assert got.feature_std_ratio == pytest.approx(1000, rel=0.3)
    assert not got.integer_valued
    assert input_record(
        "x", torch.randint(0, 255, (50, 4)).float(), gradient=None, normalised_first=False
    ).integer_valued
