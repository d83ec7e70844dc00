"""All rules, in causal order: data.

Parameters, normalisation, signal, activations, gradients, attention, loss, optimizer, first steps.
"""

from __future__ import annotations

from fanin.errors import UnknownNameError, did_you_mean
from fanin.rules.base import Rule
from fanin.rules.catalogue.attention_condensed import AttentionCondensed
from fanin.rules.catalogue.backward_exploding import BackwardExploding
from fanin.rules.catalogue.backward_vanishing import BackwardVanishing
from fanin.rules.catalogue.batchnorm_tiny_batch import BatchNormTinyBatch
from fanin.rules.catalogue.buffer_values import BufferValues
from fanin.rules.catalogue.cloned_weights import ClonedWeights
from fanin.rules.catalogue.constant_channels import ConstantChannels
from fanin.rules.catalogue.dead_growth import DeadGrowth
from fanin.rules.catalogue.dead_units import DeadUnits
from fanin.rules.catalogue.decay_outweighs import DecayOutweighs
from fanin.rules.catalogue.dropout_high import DropoutHigh
from fanin.rules.catalogue.eval_mode import EvalMode
from fanin.rules.catalogue.fan_mismatch import FanMismatch
from fanin.rules.catalogue.forward_exploding import ForwardExploding
from fanin.rules.catalogue.forward_vanishing import ForwardVanishing
from fanin.rules.catalogue.frozen_weights import FrozenWeights
from fanin.rules.catalogue.garbage_values import GarbageValues
from fanin.rules.catalogue.gradient_imbalance import GradientImbalance
from fanin.rules.catalogue.gradients_kept import GradientsKept
from fanin.rules.catalogue.initial_loss import InitialLoss
from fanin.rules.catalogue.input_garbage import InputGarbage
from fanin.rules.catalogue.input_offset import InputOffset
from fanin.rules.catalogue.input_scale import InputScale
from fanin.rules.catalogue.jacobian_scale import JacobianScale
from fanin.rules.catalogue.large_bias import LargeBias
from fanin.rules.catalogue.loss_maximised import LossMaximised
from fanin.rules.catalogue.loss_up import LossUp
from fanin.rules.catalogue.no_gradient import NoGradient
from fanin.rules.catalogue.no_progress import NoProgress
from fanin.rules.catalogue.nonfinite_signal import NonfiniteSignal
from fanin.rules.catalogue.nonfinite_training import NonfiniteTraining
from fanin.rules.catalogue.nonfinite_weights import NonfiniteWeights
from fanin.rules.catalogue.norm_eps_dominated import NormEpsDominated
from fanin.rules.catalogue.precision_range import PrecisionRange
from fanin.rules.catalogue.rate_lost import RateLost
from fanin.rules.catalogue.recurrent_scale import RecurrentScale
from fanin.rules.catalogue.sample_collapse import SampleCollapse
from fanin.rules.catalogue.saturated_units import SaturatedUnits
from fanin.rules.catalogue.shared_weights import SharedWeights
from fanin.rules.catalogue.softmax_before_loss import SoftmaxBeforeLoss
from fanin.rules.catalogue.step_size import StepSize
from fanin.rules.catalogue.stepped_again import SteppedAgain
from fanin.rules.catalogue.symmetric_weights import SymmetricWeights
from fanin.rules.catalogue.target_scale import TargetScale
from fanin.rules.catalogue.targets_alike import TargetsAlike
from fanin.rules.catalogue.targets_broadcast import TargetsBroadcast
from fanin.rules.catalogue.token_collapse import TokenCollapse
from fanin.rules.catalogue.uneven_rows import UnevenRows
from fanin.rules.catalogue.unregistered_weights import UnregisteredWeights
from fanin.rules.catalogue.weights_left_out import WeightsLeftOut
from fanin.rules.catalogue.weights_overwritten import WeightsOverwritten
from fanin.rules.catalogue.weights_replaced import WeightsReplaced
from fanin.rules.catalogue.weights_still import WeightsStill
from fanin.rules.catalogue.zero_gradient import ZeroGradient
from fanin.rules.catalogue.zero_init_gate import ZeroInitGate

__all__ = ["FAMILIES", "RULES", "get_rule"]

# first letter of a code -> what the rules of that family look at
FAMILIES = {
    "D": "data",
    "P": "parameters",
    "N": "normalisation",
    "S": "signal",
    "A": "activations",
    "G": "gradients",
    "T": "tokens and attention",
    "L": "loss",
    "O": "optimizer and precision",
    "W": "first steps of training",
}

RULES: tuple[Rule, ...] = (
    InputGarbage(),
    InputScale(),
    InputOffset(),
    TargetScale(),
    TargetsAlike(),
    NonfiniteWeights(),
    GarbageValues(),
    UnevenRows(),
    BufferValues(),
    SymmetricWeights(),
    LargeBias(),
    FanMismatch(),
    ClonedWeights(),
    SharedWeights(),
    FrozenWeights(),
    UnregisteredWeights(),
    RecurrentScale(),
    BatchNormTinyBatch(),
    NormEpsDominated(),
    NonfiniteSignal(),
    ForwardVanishing(),
    ForwardExploding(),
    SaturatedUnits(),
    DeadUnits(),
    ConstantChannels(),
    BackwardVanishing(),
    BackwardExploding(),
    SampleCollapse(),
    JacobianScale(),
    NoGradient(),
    ZeroGradient(),
    ZeroInitGate(),
    GradientImbalance(),
    AttentionCondensed(),
    TokenCollapse(),
    SoftmaxBeforeLoss(),
    LossMaximised(),
    TargetsBroadcast(),
    InitialLoss(),
    StepSize(),
    PrecisionRange(),
    NonfiniteTraining(),
    WeightsReplaced(),
    LossUp(),
    DeadGrowth(),
    GradientsKept(),
    RateLost(),
    WeightsOverwritten(),
    WeightsLeftOut(),
    EvalMode(),
    SteppedAgain(),
    DecayOutweighs(),
    DropoutHigh(),
    WeightsStill(),
    NoProgress(),
)


def get_rule(name: str) -> Rule:
    """The rule with this code or kebab-case name.

    Raises:
        UnknownNameError: no such rule; the message names the closest.

    Example:
        >>> get_rule("S205").name
        'sample-collapse'
    """
    for rule in RULES:
        if name.upper() == rule.code or name == rule.name:
            return rule
    known = [r.code for r in RULES] + [r.name for r in RULES]
    raise UnknownNameError(f"no rule is called {name!r}; {did_you_mean(name, known)}")
