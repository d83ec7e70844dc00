"""The fans of other frameworks as those compute them, beside the fans of the layer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.errors import ArgumentError, LayoutError, ShapeError
from fanin.initializers import peer_fans
from fanin.layout import Fans, Layout, fans

SHAPES = st.lists(st.integers(1, 40), min_size=2, max_size=5).map(tuple)
without_deadline = settings(deadline=None)


@without_deadline
@given(SHAPES)
def test_torch(shape):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))
    assert peer_fans(shape, "torch") == theirs


@pytest.mark.usefixtures("keras")
@without_deadline
@given(st.lists(st.integers(1, 40), min_size=0, max_size=5).map(tuple))
def test_keras(shape):
    from keras.src.initializers.random_initializers import compute_fans

    assert peer_fans(shape, "keras") == compute_fans(shape)


@without_deadline
@given(SHAPES)
def test_jax(shape):
    theirs = pytest.importorskip("jax._src.nn.initializers")._compute_fans(shape)
    assert peer_fans(shape, "jax") == pytest.approx(tuple(theirs))


def test_lasagne_and_paddle_take_matrices_as_in_out():
    for peer in ("lasagne", "paddle"):
        assert peer_fans((400, 100), peer) == Fans(400.0, 100.0)
        assert peer_fans((16, 8, 3, 3), peer) == Fans(72.0, 144.0)
    assert peer_fans((8, 3, 3, 16), "lasagne_c01b") == Fans(72.0, 144.0) == fans((8, 3, 3, 16), Layout.c01b())


# shape there, peer, what it says, layout, what the layer does
MISREAD = {
    "torch depthwise": ((64, 1, 3, 3), "torch", (9, 576), Layout.conv(2, groups=64), (9, 9)),
    "torch grouped": ((64, 16, 3, 3), "torch", (144, 576), Layout.conv(2, groups=4), (144, 144)),
    "torch transposed 64 -> 16": ((64, 16, 4, 4), "torch", (256, 1024), Layout.conv_transposed(2), (1024, 256)),
    "the same with stride 2": ((64, 16, 4, 4), "torch", (256, 1024), Layout.conv_transposed(2, stride=2), (256, 256)),
    "torch attention": ((768, 256), "torch", (256, 768), Layout.linear(parts=3), (256, 256)),
    "torch LSTM": ((1024, 100), "torch", (100, 1024), Layout.linear(parts=4), (100, 256)),
    "torch experts": ((64, 512, 256), "torch", (131072, 16384), Layout.experts(in_out=True), (512, 256)),
    "torch (in, out)": ((768, 3072), "torch", (3072, 768), Layout.linear_in_out(), (768, 3072)),
    "keras depthwise": ((3, 3, 64, 1), "keras", (576, 9), Layout.keras_depthwise(4, 64), (9, 9)),
    "keras grouped": ((3, 3, 16, 64), "keras", (144, 576), Layout.channels_last(4, groups=4), (144, 144)),
    "keras transposed 64 -> 16": ((4, 4, 16, 64), "keras", (256, 1024), Layout.keras_conv_transposed(4), (1024, 256)),
    "keras LSTM": ((100, 1024), "keras", (100, 1024), Layout.linear_in_out(parts=4), (100, 256)),
    "flax depthwise": ((3, 3, 1, 64), "jax", (9, 576), Layout.channels_last(4, groups=64), (9, 9)),
    "flax transposed": ((4, 4, 64, 16), "jax", (1024, 256), Layout.channels_last(4, transposed=True), (1024, 256)),
    "flax transposed, kernel too": ((4, 4, 16, 64), "jax", (256, 1024), Layout.keras_conv_transposed(4), (1024, 256)),
    "flax heads": ((512, 8, 64), "jax", (4096, 32768), Layout.heads(), (512, 512)),
    "flax batch": ((8, 100, 64), "jax", (800, 512), Layout.experts(in_out=True), (100, 64)),
}


@pytest.mark.parametrize("case", MISREAD)
def test_what_they_misread_and_the_layout_does_not(case):
    shape, peer, theirs, layout, ours = MISREAD[case]
    assert peer_fans(shape, peer) == theirs
    assert fans(shape, layout) == ours


def test_refusals():
    with pytest.raises(ArgumentError, match="peer must be one of"):
        peer_fans((2, 2), "chainer")
    with pytest.raises(LayoutError, match="torch computes no fans"):
        peer_fans((2,), "torch")
    with pytest.raises(ShapeError, match="four axes"):
        peer_fans((2, 2), "lasagne_c01b")
