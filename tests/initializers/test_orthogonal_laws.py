"""Orthogonal laws: Haar, isometric as convolutions, linear as mirrored networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fanin
from fanin.initializers import ConvOrthogonal, DeltaOrthogonal, MirroredOrthogonal, Orthogonal
from fanin.layout import Layout, to_blocks

DRAWS = 2500


def squares(n: int, dtype: str = "float64") -> np.ndarray:
    """Many independent n x n matrices: experts of one weight."""
    return Orthogonal().sample((DRAWS, n, n), key=fanin.key(0, "haar"), layout=Layout.experts(), dtype=dtype)


def assert_mean(values: np.ndarray, want: float, what: str) -> None:
    error = values.std(ddof=1) / math.sqrt(len(values))
    if not abs(values.mean() - want) < 5.0 * error:
        raise AssertionError(f"{what}: {values.mean():.4g}, want {want:.4g} +- {5 * error:.2g}")


def assert_haar(q: np.ndarray) -> None:
    """First and second moments of entries, of the trace of powers, and of the determinant, as under Haar measure.

    For O(n), n >= 2k: E tr Q = 0, E (tr Q)^2 = 1, E tr Q^2 = 1, E (tr Q^2)^2 = 3 for n >= 4 (Diaconis and Shahshahani
    1994, theorem 4); the determinant is +-1 with probability 1/2.
    """
    n = q.shape[1]
    trace, trace2 = np.einsum("bii->b", q), np.einsum("bij,bji->b", q, q)
    assert_mean(trace, 0.0, "trace")
    assert_mean(trace**2, 1.0, "squared trace")
    assert_mean(trace2, 1.0, "trace of the square")
    if n >= 4:
        assert_mean(trace2**2, 3.0, "squared trace of the square")
    assert_mean(np.linalg.det(q), 0.0, "determinant")
    for i, j in ((0, 0), (n - 1, 0), (0, n - 1), (n - 1, n - 1)):
        assert_mean(q[:, i, j], 0.0, f"entry {i}, {j}")
        assert_mean(q[:, i, j] ** 2, 1.0 / n, f"squared entry {i}, {j}")
        assert_mean(q[:, i, j] ** 4, 3.0 / (n * (n + 2.0)), f"fourth power of entry {i}, {j}")


@pytest.mark.parametrize("n", [2, 3, 8])
def test_square_maps_are_haar(n):
    q = squares(n)
    np.testing.assert_allclose(q @ q.swapaxes(1, 2), np.broadcast_to(np.eye(n), q.shape), atol=1e-13)
    assert_haar(q)


def test_an_svd_or_qr_without_the_sign_fix_fails_the_haar_test():
    gaussian = np.random.default_rng(0).normal(size=(DRAWS, 3, 3))
    with pytest.raises(AssertionError, match="want"):
        assert_haar(np.linalg.svd(gaussian)[0])
    with pytest.raises(AssertionError, match="want"):
        assert_haar(np.linalg.qr(gaussian)[0])


def test_complex_maps_are_unitary_and_their_phases_uniform():
    q = squares(3, "complex128")
    np.testing.assert_allclose(q @ q.conj().swapaxes(1, 2), np.broadcast_to(np.eye(3), q.shape), atol=1e-13)
    trace, det = np.einsum("bii->b", q), np.linalg.det(q)
    for values in (trace.real, trace.imag, det.real, det.imag, (trace**2).real, (det**2).real):
        assert_mean(values, 0.0, "phase")
    assert_mean(np.abs(trace) ** 2, 1.0, "|trace|^2")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.sampled_from([1, 2, 3]), st.booleans())
def test_rectangular_maps_have_orthonormal_rows_or_columns(out, inputs, parts, scaled):
    layout = Layout.linear(parts=parts)
    w = Orthogonal(scaled=scaled).sample((parts * out, inputs), key=fanin.key(0, "w"), layout=layout, dtype="float64")
    gain = max(1.0, math.sqrt(out / inputs)) if scaled else 1.0
    for block in to_blocks(w, layout):
        q = block[0, :, :, 0] / gain
        gram = q @ q.T if out <= inputs else q.T @ q
        np.testing.assert_allclose(gram, np.eye(min(out, inputs)), atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_low_precision_is_the_rounded_matrix(dtype):
    key = fanin.key(0, "w")
    exact = Orthogonal().sample((64, 64), key=key, dtype="float64")
    got = Orthogonal().sample((64, 64), key=key, dtype=dtype).astype(np.float64)
    eps = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    assert np.abs(got - exact).max() <= 1.01 * eps * np.abs(exact).max()


def test_a_channels_last_tensor_gets_the_same_values():
    key, layout = fanin.key(0, "conv.weight"), Layout.conv(2)
    plain, last = torch.empty(16, 8, 3, 3), torch.empty(16, 8, 3, 3).to(memory_format=torch.channels_last)
    for law in (Orthogonal(), DeltaOrthogonal(), ConvOrthogonal()):
        law.fill_(plain, key=key, layout=layout)
        law.fill_(last, key=key, layout=layout)
        assert torch.equal(plain, last)


# ---------------------------------------------------------------------- convolutions
def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def circular(weight: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    """The convolution of x with circular padding, at stride 1, even kernels too."""
    dims = weight.ndim - 2
    pad = [p for k in reversed(weight.shape[2:]) for p in ((k - 1) // 2, k // 2)]
    conv = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[dims - 1]
    return conv(nn.functional.pad(x, pad, mode="circular"), torch.from_numpy(weight))


KERNELS = [(8, 8, 3), (8, 5, 4), (5, 8, 2), (6, 6, 3, 3), (8, 3, 2, 4), (3, 8, 5, 2), (4, 4, 2, 3, 2), (6, 4, 1, 3)]


@pytest.mark.parametrize("shape", KERNELS)
@pytest.mark.parametrize("law", [ConvOrthogonal(), DeltaOrthogonal(), DeltaOrthogonal(centre="half")], ids=str)
def test_convolutions_keep_length_or_are_the_adjoint_of_one_that_does(law, shape):
    weight = law.sample(shape, key=fanin.key(1, "conv.weight"), dtype="float64")
    sides = (7, 6, 5)[: len(shape) - 2]
    x = torch.randn(
        2, shape[1], *sides, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    y = circular(weight, x)
    if shape[0] >= shape[1]:
        torch.testing.assert_close(y.norm(), x.norm(), rtol=1e-12, atol=0.0)
    back = gaussian(*y.shape, seed=1)
    (gradient,) = torch.autograd.grad(y, x, back)
    if shape[0] <= shape[1]:
        torch.testing.assert_close(gradient.norm(), back.norm(), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("shape", KERNELS[:4])
def test_the_full_kernel_uses_every_tap_and_the_flattened_one_is_no_isometry(shape):
    weight = ConvOrthogonal().sample(shape, key=fanin.key(1, "conv.weight"), dtype="float64")
    assert (np.abs(weight).max(axis=(0, 1)) > 1e-3).all()
    if shape[0] == shape[1]:
        flat = Orthogonal().sample(shape, key=fanin.key(1, "conv.weight"), dtype="float64")
        x = gaussian(30, shape[1], *(6,) * (len(shape) - 2))
        ratios = circular(flat, x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
        assert (ratios - 1.0).abs().max() > 0.02


def test_groups_are_isometries_of_their_own():
    layout = Layout.conv(2, groups=4)
    weight = ConvOrthogonal().sample((16, 4, 3, 3), key=fanin.key(0, "w"), layout=layout, dtype="float64")
    x = gaussian(1, 16, 6, 6)
    y = nn.functional.conv2d(nn.functional.pad(x, (1,) * 4, mode="circular"), torch.from_numpy(weight), groups=4)
    torch.testing.assert_close(y.norm(), x.norm(), rtol=1e-12, atol=0.0)


def test_projectors_vary():
    """The determinant of the response at frequency 0 is not fixed: the kernels are not all shifts of one matrix."""
    kernels = ConvOrthogonal().sample(
        (200, 4, 4, 3),
        key=fanin.key(0, "w"),
        layout=Layout(batch_axes=(0,), out_axes=(1,), in_axes=(2,), tap_axes=(3,)),
        dtype="float64",
    )
    share = (kernels**2).sum(axis=(1, 2)) / 4.0
    np.testing.assert_allclose(share.sum(axis=1), 1.0, rtol=1e-12)
    assert_mean(share[:, 1], 0.5, "share of the middle tap")  # two factors of rank about half: 1/4, 1/2, 1/4
    assert share[:, 1].std() > 0.05


# ---------------------------------------------------------------------- mirrored networks
LINEAR_IN_DISGUISE = {
    "relu": (torch.relu, 1.0),
    "gelu": (nn.functional.gelu, 1.0),
    "gelu, tanh form": (lambda x: nn.functional.gelu(x, approximate="tanh"), 1.0),
    "silu": (nn.functional.silu, 1.0),
    "softplus": (nn.functional.softplus, 1.0),
    "hardswish": (nn.functional.hardswish, 1.0),
    "leaky relu": (lambda x: nn.functional.leaky_relu(x, 0.2), 1.0 / 1.2),
}


def drawn(law, shape, name):
    return torch.from_numpy(law.sample(shape, key=fanin.key(0, name), dtype="float64"))


@pytest.mark.parametrize("f", LINEAR_IN_DISGUISE)
def test_a_mirrored_network_is_an_orthogonal_map(f):
    phi, gain = LINEAR_IN_DISGUISE[f]
    depth, width = 30, 24
    first = drawn(MirroredOrthogonal(side="output"), (2 * width, width), "first")
    hidden = [drawn(MirroredOrthogonal(side="both", gain=gain), (2 * width,) * 2, f"hidden.{i}") for i in range(depth)]
    last = drawn(MirroredOrthogonal(side="input", gain=gain), (width, 2 * width), "last")

    def network(x: torch.Tensor) -> torch.Tensor:
        z = x @ first.T
        for w in hidden:
            z = phi(z) @ w.T
        return phi(z) @ last.T

    matrix = network(torch.eye(width, dtype=torch.float64)) - network(torch.zeros(width, dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(width, dtype=torch.float64), atol=1e-10, rtol=0.0)
    x, y = gaussian(2, 5, width)
    torch.testing.assert_close(network(x + y), network(x) + network(y), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kernel", ["delta", "full"])
def test_a_mirrored_convolutional_network_is_an_isometry(kernel):
    law = [MirroredOrthogonal(side=s, kernel=kernel) for s in ("output", "both", "input")]
    shapes = ((16, 8, 3, 3), (16, 16, 3, 3), (8, 16, 3, 3))
    weights = [
        w.sample(s, key=fanin.key(0, str(i)), dtype="float64") for i, (w, s) in enumerate(zip(law, shapes, strict=True))
    ]
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    y = circular(weights[2], torch.relu(circular(weights[1], torch.relu(circular(weights[0], x)))))
    torch.testing.assert_close(y.norm(), x.norm(), rtol=1e-10, atol=0.0)


def test_rectangular_mirrored_maps_keep_the_second_moment():
    law = MirroredOrthogonal(side="both")
    w, x = drawn(law, (256, 64), "w"), gaussian(20000, 32)
    latent = torch.relu(torch.cat([x, -x], dim=1)) @ w.T
    assert latent.square().mean().item() == pytest.approx(1.0, rel=0.02)
    half = w[:128, :32]
    torch.testing.assert_close(w, torch.cat([torch.cat([half, -half], 1), torch.cat([-half, half], 1)]))


@pytest.mark.parametrize("width", [3, 5, 24, 63])
def test_an_odd_mirrored_network_computes_what_the_even_one_does(width):
    """The unit left over of 2 units and more changes nothing at step 0, and nothing is drawn differently for it."""
    sides = ("output", "both", "both", "input")
    laws = [MirroredOrthogonal(side=side) for side in sides]
    x = gaussian(5, 16)

    def network(units):
        z, sizes = x, (16, units, units, units, 10)
        for i, (law, out, inputs) in enumerate(zip(laws, sizes[1:], sizes, strict=False)):
            z = (z if i == 0 else torch.relu(z)) @ drawn(law, (out, inputs), str(i)).T
        return z

    even = width - width % 2
    torch.testing.assert_close(network(even + 1), network(even), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(network(even + 2), network(even))


def test_the_unit_left_over_reads_as_much_as_the_others_in_a_direction_of_its_own():
    first, second = (drawn(MirroredOrthogonal(side="both"), (65, 65), name) for name in ("one", "two"))
    for w in (first, second):
        assert w[64].norm().item() == pytest.approx(w[0].norm().item(), rel=1e-6)
        assert not w[:, 64].any()
        torch.testing.assert_close(w[64, :32], -w[64, 32:64])
        cosines = w[:64] @ w[64] / w[64].square().sum()
        assert cosines.abs().max() < 0.9
    assert abs(torch.cosine_similarity(first[64], second[64], dim=0)) < 5.0 / math.sqrt(32)


def test_the_inputs_of_the_unit_left_over_are_those_a_flatten_puts_last():
    conv = drawn(MirroredOrthogonal(side="output", kernel="flat"), (5, 2, 3), "conv")
    x = gaussian(4, 2, 8)
    z = torch.relu(nn.functional.conv1d(x, conv)).flatten(1)
    right, wrong = (z @ drawn(MirroredOrthogonal(side="input", inputs_per_unit=n), (10, 30), "head").T for n in (6, 1))
    mirrored = torch.relu(nn.functional.conv1d(-x, conv)).flatten(1)
    back = mirrored @ drawn(MirroredOrthogonal(side="input", inputs_per_unit=6), (10, 30), "head").T
    torch.testing.assert_close(back, -right)  # a linear map
    assert not torch.allclose(wrong, right)
