"""The laws that parameters start from: classes in CapWords, named schemes in lower case."""

from fanin.initializers.base import EntryMoments, Initializer
from fanin.initializers.catalogue.bilinear import Bilinear
from fanin.initializers.catalogue.centred import Centred
from fanin.initializers.catalogue.classic import classic_bias, classic_uniform
from fanin.initializers.catalogue.constant import Constant, Ones, Zeros
from fanin.initializers.catalogue.conv_orthogonal import ConvOrthogonal
from fanin.initializers.catalogue.delta_orthogonal import DeltaOrthogonal
from fanin.initializers.catalogue.from_array import FromArray, from_array
from fanin.initializers.catalogue.gates import ChronoBias, ForgetBias, gate_order
from fanin.initializers.catalogue.glorot import glorot_normal, glorot_uniform
from fanin.initializers.catalogue.hadamard import Hadamard
from fanin.initializers.catalogue.he import he_normal, he_uniform
from fanin.initializers.catalogue.icnr import ICNR
from fanin.initializers.catalogue.identity import Dirac, Identity
from fanin.initializers.catalogue.lecun import lecun_normal, lecun_uniform
from fanin.initializers.catalogue.logistic import glorot_logistic
from fanin.initializers.catalogue.mirrored import MirroredOrthogonal
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.poison import Poison
from fanin.initializers.catalogue.rbm import rbm_gaussian
from fanin.initializers.catalogue.row_sums import RowSums
from fanin.initializers.catalogue.siren import SirenFirst, siren_hidden
from fanin.initializers.catalogue.sparse import Sparse, sparse_lasagne, sparse_torch
from fanin.initializers.catalogue.stft import STFT
from fanin.initializers.catalogue.truncated import TruncatedNormal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import VarianceScaling
from fanin.initializers.catalogue.wrappers import PerInput, PerPart, Scaled
from fanin.initializers.dialects.peer_fans import PeerScaling, peer_fans
from fanin.initializers.registry import differences, get, names
from fanin.initializers.serial import from_dict

__all__ = [
    "ICNR",
    "STFT",
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
    "PerInput",
    "PerPart",
    "Poison",
    "RowSums",
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
    "from_dict",
    "gate_order",
    "get",
    "glorot_logistic",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "names",
    "peer_fans",
    "rbm_gaussian",
    "siren_hidden",
    "sparse_lasagne",
    "sparse_torch",
]
