"""What the structured laws are for, through the layers that use them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fanin
from fanin.errors import UnknownNameError
from fanin.initializers import (
    ICNR,
    Bilinear,
    Centred,
    ChronoBias,
    Dirac,
    ForgetBias,
    Hadamard,
    Identity,
    Normal,
    Sparse,
    gate_order,
    get,
    he_normal,
    lecun_normal,
)
from fanin.initializers.catalogue.from_array import from_array
from fanin.initializers.catalogue.gates import GATE_ORDERS
from fanin.layout import Layout
from tests.selection import few

KEY = fanin.key(0, "layer.weight")


def drawn(law, shape, layout=None):
    return torch.from_numpy(law.sample(shape, key=KEY, layout=layout, dtype="float64"))


# ---------------------------------------------------------------------- identity and Dirac
def test_identity_copies_what_fits():
    assert torch.equal(drawn(Identity(), (3, 5)), torch.eye(3, 5, dtype=torch.float64))
    assert torch.equal(drawn(Identity(gain=2.0), (5, 3)), 2.0 * torch.eye(5, 3, dtype=torch.float64))
    parts = drawn(Identity(), (6, 3), Layout.linear(parts=2))
    assert torch.equal(parts, torch.eye(3, dtype=torch.float64).repeat(2, 1))


def test_an_irnn_copies_its_state():
    rnn = nn.RNN(4, 8, nonlinearity="relu", bias=False).double()
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(drawn(Identity(), (8, 8)))
        rnn.weight_ih_l0.zero_()
        state = torch.rand(1, 2, 8, dtype=torch.float64)
        _, last = rnn(torch.randn(20, 2, 4, dtype=torch.float64), state)
    torch.testing.assert_close(last, state)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("groups", [1, 3])
def test_dirac_is_the_identity_under_padding_same_for_every_kernel(kernel, groups):
    x = torch.randn(2, 6, 9, dtype=torch.float64)
    weight = drawn(Dirac(), (6, 6 // groups, kernel), Layout.conv(1, groups=groups))
    torch.testing.assert_close(nn.functional.conv1d(x, weight, padding="same", groups=groups), x)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_torchs_dirac_shifts_an_even_kernel_and_ours_agrees_with_it_on_request():
    x = torch.randn(2, 6, 9, dtype=torch.float64)
    theirs = nn.init.dirac_(torch.empty(6, 3, 4, dtype=torch.float64), groups=2)
    assert torch.equal(drawn(get("dirac", like="torch"), (6, 3, 4), Layout.conv(1, groups=2)), theirs)
    moved = nn.functional.conv1d(x, theirs, padding="same", groups=2)
    torch.testing.assert_close(moved[..., :-1], x[..., 1:])


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (4, 8, 3, 5), (12, 2, 2, 4, 3), (6, 6, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_like_torch_on_every_shape(shape, groups):
    theirs = nn.init.dirac_(torch.empty(shape, dtype=torch.float64), groups=groups)
    layout = Layout.conv(len(shape) - 2, groups=groups)
    assert torch.equal(drawn(get("dirac", like="torch"), shape, layout), theirs)


# ---------------------------------------------------------------------- interpolation
@pytest.mark.parametrize(("factor", "kernel"), [(2, 3), (2, 4), (3, 5), (3, 6), (2, 6), (4, 8), (4, 7), (1, 1), (1, 2)])
def test_bilinear_upsampling_keeps_constants_and_straight_lines(factor, kernel):
    """Inside, a transposed convolution with this kernel is linear interpolation: right on every kernel size."""
    layout = Layout.conv_transposed(2, stride=factor)
    weight = drawn(Bilinear(factor=factor), (3, 3, kernel, kernel), layout)
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(8.0), indexing="ij")
    x = torch.stack([torch.ones(9, 8), rows, 2.0 * columns - rows]).double()[None]
    y = nn.functional.conv_transpose2d(x, weight, stride=factor)
    border = kernel
    inside = y[0, :, border:-border, border:-border]
    centre = (kernel - 1) / 2.0
    at = [(torch.arange(border, n - border, dtype=torch.float64) - centre) / factor for n in y.shape[2:]]
    r, c = torch.meshgrid(*at, indexing="ij")
    torch.testing.assert_close(inside, torch.stack([torch.ones_like(r), r, 2.0 * c - r]))


def test_bilinear_reads_the_factor_off_the_stride_and_keeps_channels_apart():
    layout = Layout.conv_transposed(1, stride=2)
    weight = drawn(Bilinear(), (3, 3, 6), layout)
    np.testing.assert_allclose(weight[1, 1], [0.0, 0.25, 0.75, 0.75, 0.25, 0.0])
    assert not weight[0, 1].any()
    depthwise = drawn(Bilinear(), (3, 1, 4), Layout.conv_transposed(1, stride=2, groups=3))
    np.testing.assert_allclose(depthwise[:, 0], [[0.25, 0.75, 0.75, 0.25]] * 3)


def test_bilinear_is_the_kernel_of_torchs_interpolation():
    x = torch.randn(1, 2, 10, 10, dtype=torch.float64)
    weight = drawn(Bilinear(), (2, 2, 4, 4), Layout.conv_transposed(2, stride=2))
    ours = nn.functional.conv_transpose2d(x, weight, stride=2, padding=1)
    theirs = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1])


@pytest.mark.parametrize("factor", [2, 3])
def test_icnr_makes_a_pixel_shuffle_a_nearest_neighbour_upsampling(factor):
    weight = drawn(ICNR(he_normal(), factor), (4 * factor**2, 3, 3, 3))
    small = drawn(he_normal(), (4, 3, 3, 3))
    x = torch.randn(1, 3, 7, 7, dtype=torch.float64)
    shuffled = nn.functional.pixel_shuffle(nn.functional.conv2d(x, weight, padding=1), factor)
    nearest = nn.functional.interpolate(nn.functional.conv2d(x, small, padding=1), scale_factor=factor, mode="nearest")
    torch.testing.assert_close(shuffled, nearest)


def test_icnr_for_depth_to_space_has_the_channels_inside():
    law, layout = ICNR(Normal(std=1.0), 2, channels="tensorflow"), Layout.channels_last(4)
    w = law.sample((3, 3, 2, 12), key=KEY, layout=layout)
    np.testing.assert_array_equal(w[..., :3], w[..., 9:])
    assert not np.array_equal(w[..., 0], w[..., 1])


# ---------------------------------------------------------------------- sparse
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 30))
def test_every_unit_keeps_exactly_so_many_inputs(out, inputs, connections):
    connections = max(1, min(connections, inputs))
    w = Sparse(connections=connections).sample((out, inputs), key=KEY)
    assert ((w != 0).sum(axis=1) == connections).all()
    per_input = Sparse(connections=min(connections, out), per="input").sample((out, inputs), key=KEY)
    assert ((per_input != 0).sum(axis=0) == min(connections, out)).all()


def test_the_torch_reading_zeroes_as_many_as_torch():
    for rows, columns, sparsity in ((50, 20, 0.9), (7, 5, 0.5), (10, 10, 0.3)):
        theirs = nn.init.sparse_(torch.empty(rows, columns), sparsity)
        ours = get("sparse", like="torch", sparsity=sparsity).sample((rows, columns), key=KEY)
        assert ((theirs != 0).sum(0).numpy() == (ours != 0).sum(0)).all()


def test_inputs_are_kept_equally_often_and_values_are_normal():
    w = Sparse(connections=15, std=0.5).sample((20_000, 60), key=KEY)
    kept = w != 0
    share = kept.mean(axis=0)
    assert (abs(share - 0.25) < 5.0 * math.sqrt(0.25 * 0.75 / 20_000)).all()
    both = np.mean(kept[:, 3] & kept[:, 40])
    assert abs(both - 15 * 14 / (60 * 59)) < 5.0 * math.sqrt(0.06 / 20_000)
    values = w[kept].astype(np.float64)
    assert abs(values.std() / 0.5 - 1.0) < 5.0 / math.sqrt(2.0 * values.size)


def test_sparse_kernels_count_taps_as_inputs():
    w = Sparse(connections=6).sample((5, 4, 3, 3), key=KEY)
    assert ((w != 0).reshape(5, -1).sum(axis=1) == 6).all()


# ---------------------------------------------------------------------- the rest
def test_hadamard_corners_are_those_of_scipy_and_orthonormal_where_they_can_be():
    from scipy.linalg import hadamard

    w = drawn(Hadamard(), (8, 8 - 3))
    np.testing.assert_allclose(w.numpy(), hadamard(8)[:, :5] / math.sqrt(8.0))
    torch.testing.assert_close(w.T @ w, torch.eye(5, dtype=torch.float64))
    assert torch.equal(drawn(Hadamard(), (4, 6)), torch.eye(4, 6, dtype=torch.float64))
    assert torch.equal(drawn(Hadamard(), (12, 5)), drawn(Hadamard(), (16, 5))[:12])
    paper = drawn(Hadamard(gain=math.sqrt(2.0)), (12, 5))
    np.testing.assert_allclose(abs(paper.numpy()), 2.0 ** (-(4 - 1) / 2))


@pytest.mark.parametrize("shape", [(40, 30), (16, 6, 3, 3)])
def test_centred_rows_sum_to_zero_and_keep_their_variance(shape):
    w = Centred(lecun_normal()).sample(shape, key=KEY, dtype="float64").reshape(shape[0], -1)
    assert abs(w.sum(axis=1)).max() < 1e-12
    n = w.shape[1]
    assert (w**2).mean() * n == pytest.approx(1.0, rel=5.0 * math.sqrt(2.0 / w.size))


def test_a_centred_layer_does_not_see_the_mean_of_its_input():
    w = drawn(Centred(lecun_normal()), (64, 32))
    x = torch.rand(10, 32, dtype=torch.float64)
    torch.testing.assert_close((x + 3.0) @ w.T, x @ w.T)


def test_chrono_biases_are_uniform_in_time_and_mirrored():
    b = ChronoBias(t_max=1000.0).sample((4 * 50_000,), key=KEY, dtype="float64").reshape(4, -1)
    np.testing.assert_array_equal(b[0], -b[1])
    assert not b[2:].any()
    time = np.exp(b[1])
    assert time.min() > 1.0
    assert time.max() < 999.0
    assert abs(time.mean() - 500.0) < 5.0 * 998.0 / math.sqrt(12 * 50_000)
    gru = ChronoBias(t_max=1000.0, order=gate_order("torch", "gru")).sample((150_000,), key=KEY, dtype="float64")
    np.testing.assert_array_equal(gru.reshape(3, -1)[1], b[1])
    assert not gru.reshape(3, -1)[::2].any()


def test_an_lstm_with_chrono_bias_forgets_as_slowly_as_asked():
    """The state decays by sigmoid(log u) = u / (1 + u) a step: with u = 99 to 1/e after about 100 steps."""
    lstm = nn.LSTM(1, 3).double()
    with torch.no_grad():
        for p in lstm.parameters():
            p.zero_()
        lstm.bias_ih_l0.copy_(drawn(ForgetBias(value=math.log(99.0), order=gate_order("torch")), (12,)))
        cell = torch.ones(1, 1, 3, dtype=torch.float64)
        _, (_, last) = lstm(torch.zeros(100, 1, 1, dtype=torch.float64), (0.0 * cell, cell))
    torch.testing.assert_close(last, torch.full_like(last, 0.99**100), rtol=1e-9, atol=0.0)


def test_a_gru_with_forget_bias_keeps_its_state():
    gru = nn.GRU(1, 3).double()
    with torch.no_grad():
        for p in gru.parameters():
            p.zero_()
        gru.bias_ih_l0.copy_(drawn(ForgetBias(value=math.log(99.0), order=gate_order("torch", "gru")), (9,)))
        _, last = gru(torch.zeros(100, 1, 1, dtype=torch.float64), torch.ones(1, 1, 3, dtype=torch.float64))
    torch.testing.assert_close(last, torch.full_like(last, 0.99**100), rtol=1e-9, atol=0.0)


@pytest.mark.usefixtures("keras")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("cell", few(["lstm", "gru"], "lstm"))
def test_keras_gates_are_in_the_order_of_the_table(cell):
    """A Keras cell with the bias keeps its state; with the order of another framework it would not."""
    import keras

    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell](
        3, return_state=True, **({"reset_after": False} if cell == "gru" else {})
    )
    steps = np.zeros((1, 50, 1), np.float32)
    layer.build(steps.shape)
    order = gate_order("keras", cell)
    bias = ForgetBias(value=math.log(99.0), order=order).sample((3 * len(order),), key=KEY)
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()[:2]] + [bias])
    ones, zeros = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)
    state = [zeros, ones] if cell == "lstm" else [ones]
    last = layer(steps, initial_state=[keras.ops.convert_to_tensor(s) for s in state])[-1]
    np.testing.assert_allclose(np.asarray(last), 0.99**50, rtol=1e-4)


def test_every_order_of_the_table_is_allowed():
    for order in GATE_ORDERS.values():
        assert ForgetBias(order=order).std_for((12 * len(order),)) > 0.0
    with pytest.raises(UnknownNameError, match="did you mean 'torch lstm'"):
        gate_order("torhc")


def test_given_arrays_are_kept_bit_for_bit():
    for array in (np.array([[np.nan, np.inf, -0.0]]), np.arange(6).reshape(2, 3), np.array([1 + 2j])):
        law = from_array(array)
        again = law.sample(array.shape, key=KEY, dtype=array.dtype.name)
        assert again.tobytes() == array.tobytes()
    assert str(from_array(np.zeros((2, 3)))) == "FromArray(float64, (2, 3))"


def test_given_arrays_that_a_dtype_cannot_hold_are_refused():
    from fanin.errors import ArgumentError, DtypeError
    from fanin.initializers import FromArray

    for array, dtype, match in (
        (np.array([1e6]), "float16", "beyond the range"),
        (np.array([1.5]), "int64", "exactly"),
        (np.array([1j]), "float32", "is complex"),
    ):
        with pytest.raises(DtypeError, match=match):
            from_array(array).sample((1,), key=KEY, dtype=dtype)
    with pytest.raises(ArgumentError, match="Make the law with from_array"):
        FromArray(data="AAAA", dtype="float64", size=(3,))


def test_poison_shows_in_the_first_output():
    layer = nn.Linear(3, 2)
    get("poison").fill_(layer.weight, key=KEY)
    assert layer(torch.ones(1, 3)).isnan().all()


def test_siren_keeps_its_activations():
    """Through ten layers of sin(30 W x): for normal pre-activations of variance 2 q, q goes to (1 - exp(-4 q)) / 2."""
    width, settled = 512, 0.398406
    assert (1.0 - math.exp(-4.0 * settled)) / 2.0 == pytest.approx(settled, abs=1e-4)
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2.0 - 1.0
    z = torch.sin(30.0 * x @ drawn(get("siren_first"), (width, 2)).T)
    for i in range(10):
        w = get("siren_hidden").sample((width, width), key=fanin.key(0, f"hidden.{i}"), dtype="float64")
        z = torch.sin(30.0 * z @ torch.from_numpy(w).T)
    assert z.square().mean().item() == pytest.approx(settled, rel=0.05)
