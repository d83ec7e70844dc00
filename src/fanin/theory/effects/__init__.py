"""What one operation does to the moments of what passes through it; one effect a file."""

from __future__ import annotations

from fanin.theory.effects.attention import AttentionMoments, attention_moments, logit_var
from fanin.theory.effects.dropout import DropoutScales, dropout_moments, dropout_scales
from fanin.theory.effects.gated import GatedMoments, gated_moments
from fanin.theory.effects.normalization import batch_norm_growth, layer_norm_slope, rms_norm_slope
from fanin.theory.effects.padding import effective_taps
from fanin.theory.effects.pooling import PoolMoments, average_pool_moments, max_pool_moments
from fanin.theory.effects.residual import pre_norm_q, residual_chi, residual_depth_q, residual_q
from fanin.theory.effects.softmax import SoftmaxMoments, condensation_std, softmax_entropy, softmax_moments
from fanin.theory.effects.tokens import TokenMoments, activated_tokens, linear_tokens, pooled_tokens

__all__ = [
    "AttentionMoments",
    "DropoutScales",
    "GatedMoments",
    "PoolMoments",
    "SoftmaxMoments",
    "TokenMoments",
    "activated_tokens",
    "attention_moments",
    "average_pool_moments",
    "batch_norm_growth",
    "condensation_std",
    "dropout_moments",
    "dropout_scales",
    "effective_taps",
    "gated_moments",
    "layer_norm_slope",
    "linear_tokens",
    "logit_var",
    "max_pool_moments",
    "pooled_tokens",
    "pre_norm_q",
    "residual_chi",
    "residual_depth_q",
    "residual_q",
    "rms_norm_slope",
    "softmax_entropy",
    "softmax_moments",
]
