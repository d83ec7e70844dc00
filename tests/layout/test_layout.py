"""Layouts: fans counted one by one, blocks that come back, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.errors import LayoutError
from fanin.layout import Block, Fans, Layout, fan_in, fan_out, fans, from_blocks, to_blocks

sizes = st.integers(1, 5)


@st.composite
def weights(draw) -> tuple[tuple[int, ...], Layout]:
    """A shape and a layout that fits it: any order of axes, groups on either side, parts, strides."""
    num_taps, batched = draw(st.integers(0, 2)), draw(st.booleans())
    kinds = ["out", "in", *["taps"] * num_taps, *(["batch"] if batched else [])]
    order = draw(st.permutations(range(len(kinds))))
    axes = {kind: tuple(order[i] for i, k in enumerate(kinds) if k == kind) for kind in ("out", "in", "taps", "batch")}
    shape = [draw(sizes) for _ in kinds]
    groups, groups_on = draw(st.integers(1, 3)), draw(st.sampled_from(["out", "in"]))
    shape[axes[groups_on][0]] *= groups
    parts: int | tuple[int, ...] = 1
    if groups == 1:
        parts = draw(st.one_of(st.integers(1, 3), st.lists(sizes, min_size=2, max_size=3).map(tuple)))
        shape[axes["out"][0]] = shape[axes["out"][0]] * parts if isinstance(parts, int) else sum(parts)
    layout = Layout(
        out_axes=axes["out"],
        in_axes=axes["in"],
        tap_axes=axes["taps"],
        batch_axes=axes["batch"],
        groups=groups,
        groups_on=groups_on,
        parts=parts,
        stride=draw(st.one_of(st.integers(1, 2), st.tuples(*[st.integers(1, 3)] * num_taps))) if num_taps else 1,
        transposed=draw(st.booleans()),
    )
    return tuple(shape), layout


@given(weights())
def test_blocks_come_back(weight):
    shape, layout = weight
    w = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    blocks = to_blocks(w, layout)
    np.testing.assert_array_equal(from_blocks(blocks, shape, layout), w)
    assert [b.shape for b in blocks] == [(b.maps, b.out, b.inputs, b.num_taps) for b in layout.blocks(shape)]
    assert sum(b.size for b in layout.blocks(shape)) == w.size


@given(weights())
def test_layouts_turn_into_json_and_back(weight):
    _, layout = weight
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout


def counted_fans(shape: tuple[int, ...], layout: Layout) -> Fans:
    """The slow twin of `fans`: builds the map of a small layer entry by entry and counts its terms.

    Positions are on a circle long enough for kernels not to wrap, so every stride phase occurs equally often.
    """
    blocks = to_blocks(np.arange(math.prod(shape)).reshape(shape), layout)
    into, out_of = [], []
    for block in blocks:
        for one in block:
            terms_in, terms_out = count_terms(one.shape, tuple(shape[a] for a in layout.tap_axes), layout)
            into.append(terms_in)
            out_of.append(terms_out)
    return Fans(sum(into) / len(into), sum(out_of) / len(out_of))


def count_terms(map_shape: tuple[int, ...], taps: tuple[int, ...], layout: Layout) -> tuple[float, float]:
    out, inputs, _ = map_shape
    terms_in, terms_out = float(inputs), float(out)
    for size, stride in zip(taps, layout.strides(), strict=True):
        pairs = 0
        small, large = 12, 12 * stride
        for position, tap in itertools.product(range(small), range(size)):
            assert 0 <= (position * stride + tap) % large < large
            pairs += 1
        # `pairs` terms join `small` positions of the strided side with `large` of the other
        strided, dense = pairs / small, pairs / large
        terms_in *= dense if layout.transposed else strided
        terms_out *= strided if layout.transposed else dense
    return terms_in, terms_out


@given(weights())
def test_fans_agree_with_counting(weight):
    shape, layout = weight
    got, counted = fans(shape, layout), counted_fans(shape, layout)
    assert got.fan_in == pytest.approx(counted.fan_in)
    assert got.fan_out == pytest.approx(counted.fan_out)
    assert (fan_in(shape, layout), fan_out(shape, layout)) == got


CASES = {
    "linear": (Layout.linear(), (256, 64), (64, 256)),
    "in, out": (Layout.linear_in_out(), (64, 256), (64, 256)),
    "attention": (Layout.linear(parts=3), (768, 256), (256, 256)),
    "grouped queries": (Layout.linear(parts=(256, 64, 64)), (384, 256), (256, 128)),
    "conv": (Layout.conv(2), (64, 32, 3, 3), (288, 576)),
    "conv, stride": (Layout.conv(2, stride=2), (64, 32, 3, 3), (288, 144)),
    "conv, two strides": (Layout.conv(2, stride=(1, 2)), (64, 32, 3, 3), (288, 288)),
    "groups": (Layout.conv(1, groups=4), (64, 8, 3), (24, 48)),
    "depthwise": (Layout.conv(2, groups=64), (128, 1, 3, 3), (9, 18)),
    "transposed": (Layout.conv_transposed(2, stride=2), (64, 16, 4, 4), (256, 256)),
    "transposed, groups": (Layout.conv_transposed(1, groups=4), (64, 16, 4), (64, 64)),
    "embedding": (Layout.embedding(), (1000, 64), (1, 64)),
    "bag": (Layout.embedding(bag=5), (1000, 64), (5, 64)),
    "bilinear": (Layout.bilinear(), (10, 20, 5), (100, 100)),
    "experts": (Layout.experts(), (8, 100, 50), (50, 100)),
    "experts, in, out": (Layout.experts(in_out=True, parts=2), (8, 50, 200), (50, 100)),
    "c01b": (Layout.c01b(), (3, 5, 5, 16), (75, 400)),
    "heads": (Layout.heads(), (512, 8, 64), (512, 512)),
    "heads, output": (Layout.heads(output=True), (8, 64, 512), (512, 512)),
    "flax": (Layout.channels_last(4, groups=2), (3, 3, 16, 64), (144, 288)),
    "keras depthwise": (Layout.keras_depthwise(4, 64), (3, 3, 64, 2), (9, 18)),
    "keras transposed": (Layout.keras_conv_transposed(4), (4, 4, 16, 64), (1024, 256)),
}


@pytest.mark.parametrize("case", CASES)
def test_fans_by_hand(case):
    layout, shape, expected = CASES[case]
    assert fans(shape, layout) == expected


def test_a_bare_shape_is_read_as_torch_does():
    assert fans((64, 32, 3, 3)) == fans((64, 32, 3, 3), Layout.conv(2))
    assert Layout.default(1) == Layout.vector()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Layout(out_axes=(0,), in_axes=(0,)), "every axis must appear once"),
        (lambda: Layout(out_axes=(-1,), in_axes=(0,)), "Negative axes"),
        (lambda: Layout(groups=0), "groups and bag must be >= 1"),
        (lambda: Layout(groups_on="both"), "groups_on must be"),
        (lambda: Layout(parts=()), "parts must be"),
        (lambda: Layout(parts=(3, 0)), "parts must be"),
        (lambda: Layout.conv(2, stride=(1, 2, 3)), "one entry for each"),
        (lambda: Layout.conv(2, stride=0), "strides are >= 1"),
        (lambda: Layout.default(0), "a scalar has no axes"),
        (lambda: Layout.from_dict({"outputs": [0]}), "Layout has no field"),
        (lambda: fans((3, 3, 3), Layout.linear()), r"names 2 axes but the shape \(3, 3, 3\) has 3"),
        (lambda: fans((10, 4), Layout.linear(parts=3)), "3 equal parts do not divide"),
        (lambda: fans((10, 4), Layout.linear(parts=(4, 4))), "do not add up"),
        (lambda: fans((10, 4, 3), Layout.conv(1, groups=4)), "4 groups do not divide"),
        (lambda: fans((8, 4, 3), dataclasses.replace(Layout.conv(1, groups=2), parts=2)), "no groups"),
        (lambda: fans((8,)), "no fan_in or fan_out"),
        (lambda: to_blocks(np.zeros((2, 2)), Layout.conv(1)), "names 3 axes"),
    ],
)
def test_refusals(make, match):
    with pytest.raises(LayoutError, match=match):
        make()


def test_blocks_of_a_depthwise_keras_kernel_are_its_channels():
    w = np.arange(3 * 4 * 2.0).reshape(3, 4, 2)
    (block,) = to_blocks(w, Layout.keras_depthwise(3, 4))
    assert Layout.keras_depthwise(3, 4).blocks(w.shape) == (Block(4, 2, 1, (3,)),)
    np.testing.assert_array_equal(block[1, 0, 0], w[:, 1, 0])
    np.testing.assert_array_equal(block[3, 1, 0], w[:, 3, 1])


def test_blocks_of_grouped_torch_kernels_are_the_groups_of_torch():
    torch = pytest.importorskip("torch")
    x = torch.randn(1, 6, 5, dtype=torch.float64)
    for transposed in (False, True):
        conv = torch.nn.functional.conv_transpose1d if transposed else torch.nn.functional.conv1d
        layout = Layout.conv_transposed(1, groups=2) if transposed else Layout.conv(1, groups=2)
        w = torch.randn((6, 4, 3) if transposed else (8, 3, 3), dtype=torch.float64)
        (block,) = to_blocks(w.numpy(), layout)
        pieces = []
        for g in range(2):
            one = torch.from_numpy(np.ascontiguousarray(block[g]))
            pieces.append(conv(x[:, 3 * g : 3 * g + 3], one.transpose(0, 1) if transposed else one))
        torch.testing.assert_close(torch.cat(pieces, dim=1), conv(x, w, groups=2))
