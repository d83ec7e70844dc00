"""The laws that parameters start from: classes in CapWords, named schemes in lower case."""

from fanin.initializers.base import EntryMoments, Initializer, law_from_dict
from fanin.initializers.constant import Constant, Ones, Zeros
from fanin.initializers.glorot import glorot_normal, glorot_uniform
from fanin.initializers.he import he_normal, he_uniform
from fanin.initializers.lecun import lecun_normal, lecun_uniform
from fanin.initializers.normal import Normal
from fanin.initializers.registry import get, names
from fanin.initializers.truncated import TruncatedNormal
from fanin.initializers.uniform import Uniform
from fanin.initializers.variance_scaling import VarianceScaling

__all__ = [
    "Constant",
    "EntryMoments",
    "Initializer",
    "Normal",
    "Ones",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "Zeros",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "law_from_dict",
    "lecun_normal",
    "lecun_uniform",
    "names",
]
