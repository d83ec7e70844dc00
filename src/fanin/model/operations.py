"""Names of operations: one canonical name for all spellings of an operation, and what kind of thing each does.

The kinds are tables, so a reader can see what the analysis understands; an operation in no table is opaque to it and is
named as such.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ALIASES",
    "CONVOLUTIONS",
    "DROPOUT",
    "ELEMENTWISE",
    "FACTORIES",
    "LOOKUPS",
    "MATRIX_PRODUCTS",
    "NORMS",
    "POOLS",
    "RECURRENT",
    "REDUCTIONS",
    "SHAPED_BY",
    "SOFTMAX",
    "VIEWS",
    "canonical_name",
    "is_inplace",
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
}  # fmt: skip

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


def is_inplace(func: Any) -> bool:
    """Whether a call overwrites its first argument."""
    bare = _bare_name(func)
    return bare in _INPLACE_OPERATORS or (bare.endswith("_") and not bare.endswith("__") and bare != "requires_grad_")


# ---------------------------------------------------------------------- what kind of thing an operation does
MATRIX_PRODUCTS = _words(
    "linear matmul mm bmm addmm baddbmm addbmm mv addmv dot vdot inner outer einsum tensordot chain_matmul bilinear "
    "_grouped_mm rmatmul linalg_multi_dot kron"
)
CONVOLUTIONS = _words(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution _convolution conv_tbc "
    "deform_conv2d"
)
LOOKUPS = _words("embedding embedding_bag")
RECURRENT = _words("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
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
REDUCTIONS = _words(
    "sum mean var std var_mean std_mean norm logsumexp amax amin max min prod median nansum cumsum cumprod "
    "logcumsumexp any all argmax argmin nanmean aminmax"
)
# the second operand lends its shape or type only
SHAPED_BY = _words("expand_as type_as view_as reshape_as to")

VIEWS = _words(
    "view reshape flatten unflatten transpose permute t T mT H mH adjoint movedim squeeze unsqueeze expand "
    "expand_as broadcast_to contiguous clone detach data real imag to type_as float half bfloat16 double type alias "
    "view_as reshape_as chunk split tensor_split hsplit vsplit split_with_sizes unbind narrow select getitem slice "
    "index_select gather repeat repeat_interleave tile roll flip rot90 pad constant_pad_nd reflection_pad1d "
    "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d cat stack hstack "
    "vstack unfold fold im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle diagonal "
    "tril triu masked_select upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d "
    "upsample_linear1d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa "
    "grid_sampler take take_along_dim scatter scatter_add index_add index_copy index_put setitem copy as_strided "
    "as_strided_scatter select_scatter slice_scatter atleast_1d atleast_2d atleast_3d cpu cuda meshgrid "
    "broadcast_tensors _pack_padded_sequence _pad_packed_sequence vmap_slice vmap_stack "
    "sort topk nested_tensor as_tensor tensor"
)
FACTORIES = _words(
    "zeros ones full empty arange linspace logspace eye rand randn randint randperm zeros_like ones_like full_like "
    "empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty new_tensor tensor as_tensor "
    "scalar_tensor tril_indices triu_indices one_hot hann_window"
)
