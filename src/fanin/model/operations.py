"""Names of operations: one canonical name for all spellings of an operation, and what kind of thing each does.

The kinds are tables, so a reader can see what the analysis understands; an operation in no table is opaque to it and is
named as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ALIASES",
    "BROADCASTS",
    "CASTS",
    "COMPARISONS",
    "CONTRACTIONS",
    "CONVOLUTIONS",
    "COPIES",
    "DROPOUT",
    "ELEMENTWISE",
    "ESCAPES",
    "FACTORIES",
    "FACTS",
    "GATES",
    "JOINS",
    "LEFT_PRODUCTS",
    "LOOKUPS",
    "LOSSES",
    "MASKING",
    "MATRIX_PRODUCTS",
    "NORMS",
    "NORM_CALLS",
    "OF_A_SHAPE",
    "POOLS",
    "RECURRENT",
    "REDUCTIONS",
    "RESHAPES",
    "SAME_NUMBERS",
    "SHAPED_BY",
    "SOFTMAX",
    "STARTS",
    "SUMS",
    "TURNS",
    "VIEWS",
    "NormCall",
    "canonical_name",
    "is_attribute",
    "is_inplace",
    "unordered",
    "unordered_name",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# spelled as torch spells it -> the name the graph uses
ALIASES = {
    "truediv": "div", "true_divide": "div", "divide": "div", "idiv": "div", "itruediv": "div", "rtruediv": "rdiv",
    "iadd": "add", "radd": "add", "isub": "sub", "subtract": "sub", "imul": "mul", "rmul": "mul", "multiply": "mul",
    "ipow": "pow", "imatmul": "matmul", "negative": "neg", "absolute": "abs", "clip": "clamp", "concat": "cat",
    "concatenate": "cat", "swapaxes": "transpose", "swapdims": "transpose", "moveaxis": "movedim",
    "special_expit": "sigmoid", "expit": "sigmoid", "special_erf": "erf", "special_softmax": "softmax",
    "_softmax": "softmax", "_log_softmax": "log_softmax", "special_log_softmax": "log_softmax",
    "special_log1p": "log1p", "special_expm1": "expm1", "special_exp2": "exp2", "greater": "gt",
    "greater_equal": "ge", "less": "lt", "less_equal": "le", "not_equal": "ne", "dstack": "stack",
    "_unsafe_view": "view", "_reshape_alias": "reshape", "arctan": "atan", "arcsinh": "asinh",
    "invert": "bitwise_not", "and": "bitwise_and", "or": "bitwise_or", "ior": "bitwise_or", "iand": "bitwise_and",
    "fix": "trunc", "linalg_norm": "norm", "linalg_vector_norm": "norm", "vector_norm": "norm",
    "column_stack": "hstack", "row_stack": "vstack", "_fused_rms_norm": "rms_norm",
    "cross_entropy_loss": "cross_entropy", "nll_loss_nd": "nll_loss", "nll_loss2d": "nll_loss",
}  # fmt: skip

# operations whose operands come in the other order -> the operation
_MIRRORED = {"rsub": "sub", "rdiv": "div", "rpow": "pow", "rmatmul": "matmul"}

_INPLACE_OPERATORS = _words(
    "iadd isub imul itruediv idiv ifloordiv imod ipow iand ior ixor ilshift irshift imatmul setitem"
)


def _bare_name(func: Any) -> str:
    overload = getattr(func, "_schema", None)
    if overload is not None:
        return str(overload.name).rpartition("::")[2]
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":
        return str(func.__self__.__name__)
    return name[2:-2] if name.startswith("__") and name.endswith("__") else name


def canonical_name(func: Any) -> str:
    """The one name of an operation, without dunders and without the trailing underscore of in-place forms.

    Example:
        >>> import torch
        >>> canonical_name(torch.Tensor.__iadd__), canonical_name(torch.relu_), canonical_name(torch.concat)
        ('add', 'relu', 'cat')
    """
    bare = _bare_name(func)
    bare = bare[:-1] if bare.endswith("_") and not bare.endswith("__") else bare
    return ALIASES.get(bare, bare)


def unordered_name(func: Any) -> str:
    """The canonical name of an operation, whichever of its two operands comes first.

    Example:
        >>> import torch
        >>> unordered_name(torch.Tensor.__rsub__), unordered_name(torch.Tensor.sub_)
        ('sub', 'sub')
    """
    return unordered(canonical_name(func))


def unordered(name: str) -> str:
    """The name of an operation from its canonical name, whichever of its two operands comes first."""
    return _MIRRORED.get(name, name)


def is_attribute(func: Any) -> bool:
    """Whether a call reads or sets an attribute of a tensor (``x.T``, ``x.shape``, ``x.data = y``)."""
    return getattr(func, "__name__", "") in ("__get__", "__set__")


def is_inplace(func: Any) -> bool:
    """Whether a call overwrites its first argument."""
    bare = _bare_name(func)
    return bare in _INPLACE_OPERATORS or (bare.endswith("_") and not bare.endswith("__") and bare != "requires_grad_")


# ---------------------------------------------------------------------- what kind of thing an operation does
MATRIX_PRODUCTS = _words(
    "linear matmul mm bmm addmm baddbmm addbmm mv addmv dot vdot inner outer einsum tensordot chain_matmul bilinear "
    "_grouped_mm rmatmul linalg_multi_dot kron"
)
# products of two tensors, either of which may be the weight
LEFT_PRODUCTS = _words("matmul mm bmm addmm baddbmm rmatmul")
CONVOLUTIONS = _words(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution _convolution conv_tbc "
    "deform_conv2d"
)
LOOKUPS = _words("embedding embedding_bag")
RECURRENT = _words("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
# the gates that lie side by side in each weight and bias, in torch's order; candidates are "g" (LSTM) and "n" (GRU)
GATES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("lstm", "lstm_cell"), ("i", "f", "g", "o")),
    **dict.fromkeys(("gru", "gru_cell"), ("r", "z", "n")),
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "rnn_tanh_cell", "rnn_relu_cell"), ("h",)),
}
# products that sum nothing: each entry of the result is one entry of each operand
_OUTER_PRODUCTS = _words("outer kron")
# operations that sum products of a weight with the signal, or read rows of a weight
CONTRACTIONS = (MATRIX_PRODUCTS - _OUTER_PRODUCTS) | CONVOLUTIONS | LOOKUPS | RECURRENT
SUMS = CONTRACTIONS - LOOKUPS
# operations that make a signal of a weight and constants: rows of a table, a map of fixed numbers
STARTS = LOOKUPS | _words("linear conv1d conv2d conv3d")
NORMS = _words(
    "batch_norm native_batch_norm layer_norm native_layer_norm group_norm native_group_norm instance_norm rms_norm "
    "local_response_norm"
)
SOFTMAX = _words("softmax log_softmax gumbel_softmax")
DROPOUT = _words("dropout alpha_dropout feature_dropout feature_alpha_dropout native_dropout")
POOLS = _words(
    "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices "
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "_adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d "
    "fractional_max_pool3d lp_pool1d lp_pool2d"
)
ELEMENTWISE = _words(
    "add sub rsub mul div rdiv pow rpow rfloordiv floor_divide neg abs sign sgn sqrt rsqrt square reciprocal exp "
    "exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sinc sigmoid logit "
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus logsigmoid log_sigmoid hardtanh "
    "hardswish hardsigmoid hardshrink softshrink tanhshrink softsign threshold erf erfc clamp clamp_min clamp_max "
    "maximum minimum fmax fmin where lerp addcmul addcdiv floor ceil round trunc frac fmod remainder nan_to_num "
    "heaviside xlogy logaddexp atan2 hypot lgamma digamma masked_fill polar complex view_as_real view_as_complex "
    "rand_like bernoulli masked_scatter float_power conj conj_physical angle deg2rad rad2deg erfinv i0 copysign"
)
# functions of single entries that give a mask
COMPARISONS = _words(
    "gt lt ge le eq ne greater less greater_equal less_equal not_equal isnan isinf isfinite isposinf isneginf isclose "
    "signbit logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor"
)
REDUCTIONS = _words(
    "sum mean var std var_mean std_mean norm logsumexp amax amin max min prod median nansum cumsum cumprod "
    "logcumsumexp any all argmax argmin nanmean aminmax"
)
# the second operand lends its shape or type only
SHAPED_BY = _words("expand_as type_as view_as reshape_as to")

# the same numbers in the same order under another shape
RESHAPES = _words(
    "view reshape flatten unflatten squeeze unsqueeze view_as reshape_as atleast_1d atleast_2d atleast_3d"
)
# the same numbers with their axes in another order
TURNS = _words("transpose t T mT H mH adjoint permute movedim")
# every number repeated along new or longer axes
BROADCASTS = _words("expand expand_as broadcast_to")
# the same numbers in the same places, up to rounding, and in the same places of another tensor
CASTS = _words("to type type_as float half bfloat16 double")
COPIES = _words("contiguous clone detach data alias cpu cuda")
SAME_NUMBERS = CASTS | COPIES
# several tensors side by side
JOINS = _words("cat stack hstack vstack")
VIEWS = (RESHAPES | TURNS | BROADCASTS | SAME_NUMBERS | JOINS) | _words(
    "real imag chunk split tensor_split hsplit vsplit split_with_sizes unbind narrow select getitem slice "
    "index_select gather repeat repeat_interleave tile roll flip rot90 pad constant_pad_nd reflection_pad1d "
    "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d "
    "unfold fold im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle diagonal "
    "tril triu masked_select upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d "
    "upsample_linear1d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa "
    "grid_sampler take take_along_dim scatter scatter_add index_add index_copy index_put setitem copy as_strided "
    "as_strided_scatter select_scatter slice_scatter meshgrid "
    "broadcast_tensors _pack_padded_sequence _pad_packed_sequence vmap_slice vmap_stack "
    "sort topk nested_tensor as_tensor tensor"
)
FACTORIES = _words(
    "zeros ones full empty arange linspace logspace eye rand randn randint randperm zeros_like ones_like full_like "
    "empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty new_tensor tensor as_tensor "
    "scalar_tensor tril_indices triu_indices one_hot hann_window"
)
# Of these the ones that hold none of the numbers that they are given: they read a shape.
OF_A_SHAPE = FACTORIES - VIEWS - {"one_hot", "new_tensor"}
LOSSES = _words(
    "cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss smooth_l1_loss "
    "huber_loss kl_div ctc_loss poisson_nll_loss gaussian_nll_loss hinge_embedding_loss margin_ranking_loss "
    "triplet_margin_loss cosine_embedding_loss multi_margin_loss multilabel_margin_loss soft_margin_loss"
)
# write a constant into some places of the signal
MASKING = _words("masked_fill where")
# the values go on outside torch, where no gradient follows (a single number is for monitoring, as a rule)
ESCAPES = _words("numpy tolist array")
# questions about a tensor, and calls that change no value: most calls of a forward
FACTS = _words(
    "size dim ndimension numel nelement is_floating_point is_complex is_cuda is_contiguous is_same_size is_tensor "
    "is_storage is_inference stride storage_offset element_size data_ptr untyped_storage get_device has_names item "
    "tolist len bool repr format hash backward register_hook requires_grad requires_grad_ device dtype type type_as "
    "_has_compatible_shallow_copy_type"
)


# ---------------------------------------------------------------------- how torch's norms are called
@dataclass(frozen=True, slots=True)
class NormCall:
    """Positions of the operands of one of torch's norms in its call; None for what it does not take.

    Attributes:
        scale: of what it multiplies by ("weight").
        shift: of what it adds ("bias").
        eps: of the number that keeps it from dividing by zero.
        training: of the switch between statistics of the batch and running ones.
        groups: of the number of groups.
    """

    scale: int
    shift: int | None
    eps: int
    training: int | None = None
    groups: int | None = None


NORM_CALLS: Mapping[str, NormCall] = {
    "batch_norm": NormCall(scale=1, shift=2, eps=7, training=5),
    "native_batch_norm": NormCall(scale=1, shift=2, eps=7, training=5),
    "instance_norm": NormCall(scale=1, shift=2, eps=7, training=5),
    "layer_norm": NormCall(scale=2, shift=3, eps=4),
    "native_layer_norm": NormCall(scale=2, shift=3, eps=4),
    "group_norm": NormCall(scale=2, shift=3, eps=4, groups=1),
    "native_group_norm": NormCall(scale=1, shift=2, eps=7, groups=6),
    "rms_norm": NormCall(scale=2, shift=None, eps=3),
}
