"""Softmax and attention against simulation and a real attention layer."""

import math

import numpy as np
import pytest

from fanin.errors import TheoryError
from fanin.theory.effects import attention_moments, condensation_std, logit_var, softmax_entropy, softmax_moments
from tests.selection import few

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(("entries", "std"), [(2, 1.0), (64, 0.5), (64, 1.5), (256, 1.0), (256, 3.0), (16, 6.0)])
@pytest.mark.parametrize("seed", few(range(3), 2))
def test_softmax_moments(entries, std, seed):
    logits = std * np.random.default_rng(seed).standard_normal((12_000, entries))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    m = softmax_moments(entries, logit_var=std**2)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    for values, want in (((p**2).sum(axis=1), m.participation), (entropy, m.entropy), (p[:, 0], m.mean)):
        assert abs(values.mean() - want) < 5.0 * values.std() / math.sqrt(values.size)
    assert m.var == pytest.approx(m.participation / entries - 1 / entries**2)


def test_simulation_sees_three_per_cent():
    logits = 1.03 * np.random.default_rng(0).standard_normal((12_000, 256))
    p = np.exp(logits)
    values = ((p / p.sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
    want = softmax_moments(256, logit_var=1.0).participation
    assert abs(values.mean() - want) > 5.0 * values.std() / math.sqrt(values.size)


def test_a_shared_logit_changes_nothing():
    assert softmax_moments(32, logit_var=2.0, correlation=0.5) == softmax_moments(32, logit_var=1.0)
    assert softmax_moments(32, logit_var=2.0, correlation=1.0).participation == 1 / 32


def test_limits():
    small = softmax_moments(128, logit_var=1e-4)
    assert small.var * 128**2 == pytest.approx(math.expm1(1e-4) * (1 - 1 / 128), rel=1e-3)
    assert small.entropy == pytest.approx(math.log(128), rel=1e-4)
    two = softmax_moments(2, logit_var=1e-10)
    assert two.participation == pytest.approx(0.5, rel=1e-8)
    assert softmax_moments(1, logit_var=3.0).entropy == 0.0
    # beyond condensation a few entries have all: E sum p^2 = 1 - sqrt(2 ln T) / std, up to 1 / ln T
    frozen = softmax_moments(1024, logit_var=49.0)
    assert frozen.participation == pytest.approx(1 - condensation_std(1024) / 7, abs=1 / math.log(1024))
    assert frozen.condensed
    assert not softmax_moments(1024, logit_var=9.0).condensed


@pytest.mark.parametrize("entries", [64, 256, 1024])
@pytest.mark.parametrize("std", [0.3, 1.0, 1.5])
def test_the_entropy_formula(entries, std):
    exact = softmax_moments(entries, logit_var=std**2).entropy
    assert abs(softmax_entropy(entries, logit_var=std**2) - exact) < 0.036 * math.log(entries)
    assert softmax_entropy(entries, logit_var=2 * condensation_std(entries) ** 2) == 0.0


def real_attention(tokens, correlation, query_std, seed, width=256, heads=4):
    """Output variance and token product of torch's own attention on equally correlated tokens."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    x = math.sqrt(correlation) * normal(1, width) + math.sqrt(1 - correlation) * normal(tokens, width)
    q, k, v = (x @ (normal(width, width) * std) for std in (query_std, 1 / math.sqrt(width), 1 / math.sqrt(width)))
    split = [t.view(tokens, heads, -1).transpose(0, 1) for t in (q, k, v)]
    out = torch.nn.functional.scaled_dot_product_attention(*split).transpose(0, 1).reshape(tokens, width)
    return out.square().mean().item(), (out.sum(0).square() - out.square().sum(0)).mean().item() / (
        tokens * (tokens - 1)
    )


@pytest.mark.parametrize("correlation", few([0.0, 0.3, 0.6], 0.0, 0.6))
@pytest.mark.parametrize("logit_std", [0.5, 1.0])
def test_a_real_attention_layer(correlation, logit_std):
    tokens, width = 256, 256
    query_std = logit_std / math.sqrt(width * (1 - correlation)) if correlation < 1 else 0.0
    row = logit_var(width=width, second=1.0, query_std=query_std, key_std=1 / math.sqrt(width), correlation=correlation)
    assert row == pytest.approx(logit_std**2, rel=1e-12)
    want = attention_moments(tokens=tokens, correlation=correlation, row_logit_var=row)
    got = np.array([real_attention(tokens, correlation, query_std, seed) for seed in range(12)])
    error = got.std(axis=0, ddof=1) / math.sqrt(len(got))
    # a token's own logit and value share its vector: a part of order 1 / tokens that the formula leaves out
    slack = 3.0 * (1 - correlation) * (1 + logit_std**2) / tokens
    assert abs(got[:, 0].mean() - want.var) < 5 * error[0] + slack
    assert abs(got[:, 1].mean() - want.var * want.correlation) < 5 * error[1] + slack


def test_regimes():
    regimes = [attention_moments(tokens=1024, row_logit_var=s**2).regime for s in (0.5, 3.0, 5.0)]
    assert regimes == ["uniform", "selective", "condensed"]
    assert (
        attention_moments(tokens=64, row_logit_var=0.25).correlation
        > attention_moments(tokens=64, row_logit_var=9.0).correlation
    )
    dropped = attention_moments(tokens=64, row_logit_var=1.0, dropout=0.1)
    assert dropped.var == pytest.approx(attention_moments(tokens=64, row_logit_var=1.0).var / 0.9)


def test_bad_input():
    with pytest.raises(TheoryError, match="logit variance in"):
        softmax_moments(8, logit_var=-1.0)
    with pytest.raises(TheoryError, match="correlation in"):
        attention_moments(tokens=8, row_logit_var=1.0, correlation=-0.5)
