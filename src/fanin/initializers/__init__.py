"""The laws that parameters start from: classes in CapWords, named schemes in lower case."""

from fanin.initializers.base import EntryMoments, Initializer, law_from_dict
from fanin.initializers.bilinear import Bilinear
from fanin.initializers.centred import Centred
from fanin.initializers.classic import classic_bias, classic_uniform
from fanin.initializers.constant import Constant, Ones, Zeros
from fanin.initializers.conv_orthogonal import ConvOrthogonal
from fanin.initializers.delta_orthogonal import DeltaOrthogonal
from fanin.initializers.dialects.peer_fans import PeerScaling, peer_fans
from fanin.initializers.from_array import FromArray, from_array
from fanin.initializers.gates import ChronoBias, ForgetBias, gate_order
from fanin.initializers.glorot import glorot_normal, glorot_uniform
from fanin.initializers.hadamard import Hadamard
from fanin.initializers.he import he_normal, he_uniform
from fanin.initializers.icnr import ICNR
from fanin.initializers.identity import Dirac, Identity
from fanin.initializers.lecun import lecun_normal, lecun_uniform
from fanin.initializers.logistic import glorot_logistic
from fanin.initializers.mirrored import MirroredOrthogonal
from fanin.initializers.normal import Normal
from fanin.initializers.orthogonal import Orthogonal
from fanin.initializers.poison import Poison
from fanin.initializers.rbm import rbm_gaussian
from fanin.initializers.registry import differences, get, names
from fanin.initializers.siren import SirenFirst, siren_hidden
from fanin.initializers.sparse import Sparse, sparse_lasagne, sparse_torch
from fanin.initializers.truncated import TruncatedNormal
from fanin.initializers.uniform import Uniform
from fanin.initializers.variance_scaling import VarianceScaling
from fanin.initializers.wrappers import PerPart, Scaled

__all__ = [
    "ICNR",
    "Bilinear",
    "Centred",
    "ChronoBias",
    "Constant",
    "ConvOrthogonal",
    "DeltaOrthogonal",
    "Dirac",
    "EntryMoments",
    "ForgetBias",
    "FromArray",
    "Hadamard",
    "Identity",
    "Initializer",
    "MirroredOrthogonal",
    "Normal",
    "Ones",
    "Orthogonal",
    "PeerScaling",
    "PerPart",
    "Poison",
    "Scaled",
    "SirenFirst",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "Zeros",
    "classic_bias",
    "classic_uniform",
    "differences",
    "from_array",
    "gate_order",
    "get",
    "glorot_logistic",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "law_from_dict",
    "lecun_normal",
    "lecun_uniform",
    "names",
    "peer_fans",
    "rbm_gaussian",
    "siren_hidden",
    "sparse_lasagne",
    "sparse_torch",
]
