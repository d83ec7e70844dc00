"""What each initializer's page shows: a call, a shape to draw, and when to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fanin.initializers import Initializer, Orthogonal, get, he_normal
from fanin.layout import Layout

__all__ = ["SHOWN", "Shown", "law"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How a law is shown.

    Attributes:
        call: the call, as a reader types it; "" for the name with no arguments.
        arguments: the arguments of that call.
        shape: of the weight that is drawn.
        layout: what its axes mean.
        use: when to use it, and when not.
    """

    use: str
    call: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (256, 256)
    layout: Layout | None = None


_CONV = {"shape": (64, 32, 3, 3), "layout": Layout.conv(2)}
_RELU = "`he_normal` and `he_uniform` differ in nothing that training shows"

SHOWN: Mapping[str, Shown] = {
    "constant": Shown(
        use="Biases, scales and temperatures. Never a weight between two hidden layers: all units would be one unit.",
        call="constant(0.1)",
        arguments={"value": 0.1},
        shape=(256,),
    ),
    "zeros": Shown(
        use="Biases, and the last map of a residual branch or of a network where a first output of exactly zero is "
        "wanted. In a hidden layer it keeps all units equal for ever.",
        shape=(256,),
    ),
    "ones": Shown(use="Scales of norms.", shape=(256,)),
    "uniform": Shown(
        use="Where a paper or a framework states a bound. If you know the std that you want, say `uniform(std=...)`.",
        call="uniform(bound=0.1)",
        arguments={"bound": 0.1},
    ),
    "normal": Shown(
        use="Embeddings and architectures that state one std (0.02 in GPT-2). The std has to be right for the width: "
        "0.02 suits 768 inputs, and is five times too small for 32.",
        call="normal(std=0.02)",
        arguments={"std": 0.02},
    ),
    "truncated_normal": Shown(
        use="Where no single weight may be large. The std that you give is that of the values drawn, since the loss "
        "by the cut is made good.",
        call="truncated_normal(std=0.02)",
        arguments={"std": 0.02},
    ),
    "variance_scaling": Shown(
        use="When you need a gain, a fan and a law that no name has: `gain` is `fanin.gain(f)` of the activation in "
        "front of the map."
    ),
    "glorot_normal": Shown(
        use="Maps between tanh units, and linear maps. Not in front of or behind ReLU: half the signal is lost there "
        "in every layer."
    ),
    "glorot_uniform": Shown(
        use="As `glorot_normal`. It is the default of Keras, also in front of a ReLU, where 20 layers stall."
    ),
    "he_normal": Shown(
        use="Maps behind a ReLU. Deep plain stacks keep the signal with it but forget the difference between "
        "inputs: from about ten layers on `mirrored_orthogonal`, skips or norms do better."
    ),
    "he_uniform": Shown(use=f"As `he_normal`; {_RELU}."),
    "lecun_normal": Shown(
        use="Linear maps, SELU, output layers, queries and keys: what is read at rms 1 is written at rms 1."
    ),
    "lecun_uniform": Shown(use="As `lecun_normal`."),
    "classic_uniform": Shown(
        use="To reproduce torch's default. A third of the variance of LeCun's law: every linear layer shrinks the "
        "signal to a third of its power."
    ),
    "classic_bias": Shown(
        use="To reproduce torch's default biases.",
        call="classic_bias(fan_in=64)",
        arguments={"fan_in": 64.0},
        shape=(256,),
    ),
    "glorot_logistic": Shown(
        use="Stacks of logistic units that must stay as they are: four times Glorot makes good the slope of 1/4."
    ),
    "rbm_gaussian": Shown(use="To reproduce old results. In a network of ten layers N(0, 0.01²) is dead."),
    "orthogonal": Shown(
        use="Recurrent maps, and deep plain stacks of tanh or linear units: no direction is lost at any depth."
    ),
    "delta_orthogonal": Shown(
        use="Deep convolutional stacks without skips or norms; only the middle tap is not zero.", **_CONV
    ),
    "conv_orthogonal": Shown(
        use="As `delta_orthogonal` with all taps used, where the delta is too special a start.", **_CONV
    ),
    "mirrored_orthogonal": Shown(
        use="Plain stacks of ReLU, GELU, SiLU and their like: the network is linear at the start, so neither "
        "the signal nor the difference between inputs is lost. `fanin.plan` chooses it there by itself.",
        call='mirrored_orthogonal(side="both")',
        arguments={"side": "both"},
    ),
    "identity": Shown(use="Recurrent maps of ReLU units (IRNN), and maps that should begin by copying."),
    "dirac": Shown(use="Convolutions that should begin by copying their input.", **_CONV),
    "sparse": Shown(
        use="Wide layers whose units should each see a few inputs only; every unit gets the same number.",
        call="sparse(connections=15)",
        arguments={"connections": 15},
    ),
    "sparse_torch": Shown(
        use="To reproduce `torch.nn.init.sparse_`, whose share of zeros is counted in each column.",
        call="sparse_torch(sparsity=0.9)",
        arguments={"sparsity": 0.9},
    ),
    "sparse_lasagne": Shown(use="To reproduce Lasagne's `Sparse`."),
    "bilinear": Shown(
        use="Transposed convolutions that should begin as a bilinear upsampling.",
        shape=(8, 8, 4, 4),
        layout=Layout.conv(2),
    ),
    "icnr": Shown(
        use="Convolutions in front of a pixel shuffle: no checkerboard at the start.",
        call="icnr(law=he_normal(), factor=2)",
        arguments={"law": he_normal(), "factor": 2},
        **_CONV,
    ),
    "hadamard": Shown(use="Starts without randomness (recipe `zero`) where a layer widens.", shape=(256, 128)),
    "stft": Shown(
        use="The first convolution of an audio network that should begin as a spectrogram.", shape=(33, 1, 64)
    ),
    "centred": Shown(
        use="Behind units whose output has a mean (logistic, ReLU): the mean no longer drowns the differences.",
        call="centred(law=he_normal())",
        arguments={"law": he_normal()},
    ),
    "scaled": Shown(
        use="Any law times a factor, as 1 / sqrt(2 L) on the maps that write into a residual stream.",
        call="scaled(law=he_normal(), factor=0.25)",
        arguments={"law": he_normal(), "factor": 0.25},
    ),
    "per_part": Shown(
        use="Fused weights (q, k and v; gates) whose parts follow different laws.",
        call="per_part(laws=(he_normal(), Orthogonal()))",
        arguments={"laws": (he_normal(), Orthogonal())},
        layout=Layout.linear(parts=2),
    ),
    "per_input": Shown(
        use="A map whose input is made of pieces with different sizes.",
        call="per_input(laws=(he_normal(), Orthogonal()), sizes=(128, 128))",
        arguments={"laws": (he_normal(), Orthogonal()), "sizes": (128, 128)},
    ),
    "row_sums": Shown(
        use="A bias that adds a constant to every input of the map beside it; the recipes `dks` and `tat` use it.",
        call='row_sums(law=Orthogonal(), of="fc.weight", size=(256, 256))',
        arguments={"law": Orthogonal(), "of": "fc.weight", "size": (256, 256)},
        shape=(256,),
    ),
    "siren_first": Shown(
        use="The first layer of a network of sines, which sets the frequencies that it can fit.",
        shape=(256, 2),
    ),
    "siren_hidden": Shown(use="The other layers of a network of sines."),
    "forget_bias": Shown(
        use="Biases of an LSTM: the forget gate starts open, so memory lasts from the first step.", shape=(1024,)
    ),
    "chrono_bias": Shown(
        use="Biases of an LSTM that must remember for a known number of steps.",
        call="chrono_bias(t_max=100)",
        arguments={"t_max": 100.0},
        shape=(1024,),
    ),
    "from_array": Shown(
        use="Values of your own (pre-trained tables, a code book) inside a plan.",
        call="from_array(values)",
        arguments={"array": np.linspace(-1.0, 1.0, 64, dtype="float32").reshape(8, 8)},
        shape=(8, 8),
    ),
    "poison": Shown(use="Tests: NaN everywhere, so that a weight that nobody wrote shows.", shape=(8, 8)),
    "peer_scaling": Shown(
        use="To reproduce another framework's fans for fused, grouped or transposed weights.",
        call='peer_scaling(peer="keras", mode="fan_avg", law="uniform")',
        arguments={"peer": "keras", "mode": "fan_avg", "law": "uniform"},
    ),
}


def law(name: str) -> Initializer:
    """The law that the page of a name shows."""
    return get(name, **SHOWN[name].arguments)
