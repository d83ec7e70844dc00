"""What the operations of torch are for a check, by name, in one table.

Names are those that a function mode sees once torch's Python bodies run through: C builtins and tensor methods,
stripped of in-place underscores ("relu_" is "relu", "__iadd__" is "add").
"""

from __future__ import annotations

from fanin.measure.record import SiteKind

__all__ = [
    "BOUNDED",
    "CHANNEL_FIRST",
    "CONTRACTIONS",
    "KINDS",
    "LOSSES",
    "RECTIFIERS",
    "REGRESSION",
    "canonical",
]

_ALIASES = {
    "iadd": "add",
    "radd": "add",
    "isub": "sub",
    "rsub": "sub",
    "imul": "mul",
    "rmul": "mul",
    "multiply": "mul",
    "truediv": "div",
    "itruediv": "div",
    "rtruediv": "div",
    "true_divide": "div",
    "rmatmul": "matmul",
    "concat": "cat",
    "concatenate": "cat",
    "special_expit": "sigmoid",
    "cross_entropy_loss": "cross_entropy",
    "nll_loss_nd": "nll_loss",
    "nll_loss2d": "nll_loss",
}

_CONV = tuple(f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3))
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
_MATMUL = ("matmul", "mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "addbmm", "einsum", "tensordot", "grouped_mm")

# Operations that sum products of a weight with the signal. They are a "weight" site only where they do read a
# parameter.
CONTRACTIONS = frozenset(("linear", "bilinear", "embedding", "embedding_bag", *_CONV, *_RECURRENT, *_MATMUL))
# Of these the unit axis is axis 1 of the output; of the others the last.
CHANNEL_FIRST = frozenset((*_CONV, "batch_norm", "group_norm", "instance_norm"))

_ACTIVATIONS = [
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
    "rrelu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "tanh",
    "sigmoid",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "softsign",
    "log_sigmoid",
    "tanhshrink",
    "softshrink",
    "hardshrink",
    "threshold",
    "sin",
    "cos",
    "erf",
    "glu",
]
_LOSSES = [
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "kl_div",
    "ctc_loss",
    "poisson_nll_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "triplet_margin_loss",
    "cosine_embedding_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "soft_margin_loss",
]
LOSSES = frozenset(_LOSSES)
REGRESSION = frozenset(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"))

# Exactly zero, with zero slope, on part of the line: a unit can die.
RECTIFIERS = frozenset(("relu", "relu6", "threshold", "hardswish"))
# name -> (low, high): outside lies the flat part, slope below 6 % of the largest (tanh: |y| > .97, slope .06; sigmoid:
# |x| > 4).
BOUNDED: dict[str, tuple[float, float]] = {
    "tanh": (-0.97, 0.97),
    "sigmoid": (0.018, 0.982),
    "hardtanh": (-0.999999, 0.999999),
    "hardsigmoid": (1e-6, 0.999999),
    "erf": (-0.97, 0.97),
    "softsign": (-0.8, 0.8),
}

KINDS: dict[str, SiteKind] = {
    **dict.fromkeys(_ACTIVATIONS, "activation"),
    **dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"), "norm"),
    **dict.fromkeys(("scaled_dot_product_attention", "softmax"), "attention"),
    **dict.fromkeys(("add", "cat"), "merge"),
    **dict.fromkeys([f"{a}{m}_pool{d}d" for a in ("", "adaptive_") for m in ("max", "avg") for d in (1, 2, 3)], "pool"),
    **dict.fromkeys(_LOSSES, "loss"),
}


def canonical(name: str) -> str:
    """The name of an operation without in-place marks and spelling variants.

    Example:
        >>> canonical("relu_"), canonical("__iadd__"), canonical("cross_entropy_loss")
        ('relu', 'add', 'cross_entropy')
    """
    bare = name.strip("_")
    return _ALIASES.get(bare, bare)
