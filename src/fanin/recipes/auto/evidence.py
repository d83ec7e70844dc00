"""The numbers that decide the defaults of ``auto``, and the measurements behind each of them.

A result is a final training loss, "SGD / Adam" at the best learning rate of a grid, unless its row says otherwise.
The networks are narrow (docs/recipes.md describes them): the results decide defaults and do not settle what happens
at scale. To change a default: measure, change the number and the row here, run ``python -m tools.recipe_page``, and
say so in the changelog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["EVIDENCE", "Row", "sentence"]

# Hidden activations from which a plain stack is mirrored. Measured at 4, 6, 8, 9, 19, 29 (convolutions) and 49: gains
# that grow with depth; at 2 and 3: inside noise, never worse.
MIRROR_FROM = 4
# Hidden activations from which an unmirrored plain stack is orthogonal. Measured gain at 9, 1-2 standard deviations
# at 19.
ORTHOGONAL_FROM = 4
# Hidden activations from which a dense logistic stack is shaped instead of centred: better with SGD and level with
# Adam at 10, far better with both at 15 and 30.
SHAPED_LOGISTIC_FROM = 10
# Hidden activations from which a dense stack of a function with a continuous slope that is neither mirrored nor odd is
# shaped (ELU): level at 10 and 15, better at 30.
SHAPED_FROM = 30
# Power of a signal's size (d ln E f^2 / d ln q near zero) from which a stack of any depth is shaped: relu(x)^1.5 has
# 1.5, log cosh 2. ReLU has 1, x + sin^2(x) 1.03. Functions with that power at q = 1 and not near zero get small inputs.
POWER = 1.4
# Share of the second moment that is mean, from which a dense stack that is not centred is shaped at any depth: better
# at 0.71 (softplus) and above (exp(-x^2), 1/(1 + x^2), sech), worse at 0.65 (cosine).
HEAVY_MEAN = 0.7
# Rms of a factor that starts at one, about one, times the number of such factors: 0.1 to 0.25 trained alike at 2 and 3
# products, 0.1 better at 5 and 8.
OPEN_SHARE = 0.5
# Hidden layers from which a stack of odd, saturating units starts orthogonal at its critical point: better at 20, 50
# and 99, inside noise at 5 and 10, worse in a 12-layer convolutional net.
CRITICAL_FROM = 16
# Relative variance of the squared singular values that such a stack starts with.
CRITICAL_SPREAD = 1.0
# Largest growth of the gradient per layer, chi_1, that a centred activation may have; the logistic function has 1.034.
CENTRED_CHI = 1.06
# Share of the second moment that must be mean before an activation is worth centring: 0.85 for the logistic, 0.32
# for ReLU.
CENTRED_SHARE = 0.5
# Growth of squared distances over all layers, chi_1 to the power of their number, up to which a sharp activation may
# go: 2 trained better than 4 on all of six stacks but one (level), 16 far worse, 1 between.
SHARP_CHI = 2.0
# Variance of pre-activations at which a function is seen near zero.
NEAR_ZERO = 0.01
# Power of a difference of size over all layers up to which a function that is linear near zero only may go: q = .1
# and .03 trained better than .25 for sin(x) + x^3 / 5, where the powers are 1.1, 1.03 and 1.4.
SIZE_GROWTH = 1.2
# sin(w x) with w from here on is a coordinate network and not an activation like others.
SIREN_OMEGA = 5.0
# Std of a learned token that joins a stream of patches; the position added to it gives it its size.
TOKEN_STD = 0.02
# Size of the weight of an expansion beside a plain map (KAN), in units of the map's: 1/4 trained better than 1/2 and 1.
BESIDE_SHARE = 0.25
# Std of the points of a layer of bumps exp(-d^2), over that of the signal: better than 1 on all three networks tried, 2
# better on one and worse on one.
BUMPS_SPREAD = 1.5
# Table that is also the output layer: std relative to the one that gives logits of rms 1; GPT-2's 0.02 at d = 768
# is 0.554.
TIED_SHARE = 0.554
# Factor of the only map of a residual branch before an odd bounded function, times sqrt(branches).
ODD_BRANCHES = 6.0
# Root mean square of the logits under head="calm": the loss starts within 0.005 of ln C.
CALM_RMS = 0.1
# Second moment of the input above which the first layer is scaled down. A standardised batch differs from 1 by less,
# so the scatter of a batch changes nothing.
LARGE_INPUT = 1.25
# Second moment of its input below which an output layer is not scaled up further; on a recurrent state of width h it
# keeps 1 / sqrt(h).
FAINTEST = 0.25
# Second moment of a network's input outside of which the reader is warned.
INPUT_RANGE = (0.3, 3.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement behind a default.

    Attributes:
        setting: network, data and optimizer.
        ours: result of what `auto` does.
        others: results of the other starts, each with its name.
        seeds: number of seeds (or draws) that were averaged.
        source: the study, or the file in ``benchmarks``.
    """

    setting: str
    ours: str
    others: str
    seeds: str
    source: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.ours}" + (f" (others: {self.others})" if self.others else "")


def sentence(rows: tuple[Row, ...]) -> str:
    """Measurements in one line, for the derivation of a plan.

    Example:
        >>> sentence((Row("adding task", "chrono 0.001", "all others 0.164", "3", "text"),))
        'adding task: chrono 0.001 (others: all others 0.164)'
    """
    return "; ".join(map(str, rows))


_DIGITS = "plain and residual networks on digits"
_TEXT = "transformers and LSTMs on text"
_DEPTH = "benchmarks/results/mirrored_depth.json"
_KERNEL = "benchmarks/results/mirrored_kernel.json"
_STUDY = "benchmarks/results/study.md"
_SHAPED = "benchmarks/results/shaped.md"
_POWERS = "benchmarks/results/powers.md"

EVIDENCE: Mapping[str, tuple[Row, ...]] = {
    "mirrored": (
        Row(
            "50-layer ReLU",
            "0.40 / 0.51",
            "He 1.93 / 1.70, orthogonal 1.78 / 1.69, torch's default 2.30 / 2.30",
            "3",
            _DIGITS,
        ),
        Row("20-layer GELU", "0.28 / 0.35", "1.82 / 1.77 unmirrored", "3", _DIGITS),
        Row("30-layer CNN", "0.82 / 0.82", "2.16 / 1.96 unmirrored", "3", _DIGITS),
        Row("held-out accuracy of these three", "0.82 to 0.89", "0.29 to 0.63", "3", _DIGITS),
        Row("ReLU, 8 hidden layers", "0.21 / 0.20", "unmirrored 0.28 / 0.28", "3", _DEPTH),
        Row("ReLU, 6 hidden layers", "0.22 / 0.21", "unmirrored 0.28 / 0.24", "3", _DEPTH),
        Row("ReLU, 4 hidden layers", "0.19 / 0.20", "unmirrored 0.23 / 0.23", "3", _DEPTH),
        Row("ReLU, 2 and 3 hidden layers", "within noise of unmirrored", "", "3", _DEPTH),
        Row("ReLU, 20 layers of width 256 (Adam)", "0.06", "orthogonal 0.21, He 0.23", "2", _STUDY),
        Row("Mish, 20 layers (Adam), where a pair is only nearly linear", "0.13", "orthogonal 0.24", "2", _STUDY),
        Row(
            "30 layers of width 63 (Adam): GELU / ReLU",
            "mirrored but for one unit 0.16 / 0.22",
            "width 64 0.16 / 0.21; width 63 not mirrored 1.20 / 0.79",
            "3",
            _DIGITS,
        ),
        Row(
            "kernels of the 30-layer CNN, held-out accuracy in brackets",
            "flattened 0.77 / 0.53 (0.75 / 0.82)",
            "delta 0.83 / 0.55 (0.73 / 0.78), isometric 0.91 / 0.50 (0.69 / 0.86)",
            "2",
            _KERNEL,
        ),
    ),
    "open-factors": (
        Row(
            "products of two maps, 8 x 8 digits, 60 steps of Adam: a b, 2, 3 layers / silu(a) b, 2, 5 / relu(a) b, 8",
            "one factor at one 0.40, 0.38 / 0.45, 0.49 / 0.92",
            "torch's default 0.55, 1.01 / 0.49, 2.28 / 2.30; both factors of rms 1, outputs taken back 0.50, 1.10 / "
            "0.52, worse than the default / worse",
            "2",
            "networks of benchmarks/results/unseen.md",
        ),
    ),
    "expansions": (
        Row(
            "5 bumps of each number beside a map of SiLUs, 3 layers, 8 x 8 digits, 60 steps of Adam",
            "bumps of rms 1/4 .495",
            "1/2 .527; 1 .645; torch's default .550; both smaller .540",
            "2",
            "networks of benchmarks/results/unseen.md",
        ),
        Row(
            "5 Chebyshev polynomials of tanh(x), 3 layers, likewise",
            "std times .6 (chi_1^layers about 2) .892",
            "1 1.199; .4 .938; .25 1.008; the module's own 1.284",
            "2",
            "likewise",
        ),
    ),
    "growing": (
        Row(
            "sin(x) + x^3 / 5, 5 layers / x (1 + x), 4 layers, 8 x 8 digits, 60 steps of Adam",
            "pre-activations where sizes keep their ratio up to a power of 1.2 .562 / .486",
            "shaped 1.924 / .494; variance 1 diverges / diverges; torch's default 1.325 / .645",
            "2",
            "networks of benchmarks/results/unseen.md",
        ),
    ),
    "outer-factors": (
        Row(
            "4 layers of Kronecker products, 8 x 8 digits, 60 steps of Adam: torch.kron / by broadcasting",
            "orthogonal factors .715 / .692",
            "normal factors .98 (refused at one seed of three) / .857; the module's own 1.34 / 1.49",
            "3",
            "networks of benchmarks/results/unseen.md",
        ),
    ),
    "bumps": (
        Row(
            "bumps around 40 or 48 points, behind a map, a ReLU layer and two maps, 8 x 8 digits, 60 steps of Adam",
            "points of 1.5 times the signal's std .862, 1.170, .884",
            "1 1.019, 1.589, 1.146; 2 .984, -, .819; torch's default 1.294, 1.568, 1.393",
            "6",
            "networks of benchmarks/results/unseen.md and one more",
        ),
    ),
    "sharp": (
        Row(
            "stacks of sin(2x), sin(3x), tanh(5x), erf(4x), x exp(-x^2), 3 to 5 layers, 8 x 8 digits, 60 steps of Adam",
            "chi_1^layers = 2, orthogonal .428, .410, .434, .445, .447",
            "2, not orthogonal .422, .427, .472, .460, .470; 4, orthogonal .436, .430, .484, .453, .490; 4, not "
            "orthogonal .472, .444, .482, .504, .506; 16 .712, .697, .678, .639, .671; torch's default .440, .522, "
            ".547, .637, .506",
            "3",
            "networks of benchmarks/results/unseen.md",
        ),
        Row("sin(3x), 6 layers, likewise", "2, orthogonal .450", "4, not orthogonal .439", "3", "likewise"),
    ),
    "orthogonal": (
        Row("10-layer ReLU, not mirrored", "gain sqrt(2) 1.13 / 1.00", "He 1.58 / 1.20", "3", _DIGITS),
        Row("50-layer ReLU, not mirrored", "within noise of He", "", "3", _DIGITS),
    ),
    "gelu-gain": (
        Row(
            "20-layer GELU, not mirrored (Adam)",
            "geometric mean of the gains 1.62",
            "forward 1.84, backward 1.63, sqrt(2) 1.77: no difference beyond noise",
            "3",
            _DIGITS,
        ),
        Row(
            "20-layer ELU (Adam)",
            "orthogonal at the backward gain 0.18",
            "Gaussian at the forward gain 0.28, mirrored 0.20, orthogonal at sqrt(2) 0.23",
            "2",
            _STUDY,
        ),
        Row(
            "20-layer SELU (Adam)",
            "orthogonal at the backward gain 0.21",
            "Gaussian at the forward gain 0.30, mirrored 0.40, orthogonal at sqrt(2) 0.50",
            "2",
            _STUDY,
        ),
        Row(
            "50-layer GELU (Adam)",
            "mirrored 0.13",
            "every unmirrored gain 1.9 or more, orthogonal at the backward gain 2.30",
            "2",
            _STUDY,
        ),
    ),
    "centred": (
        Row(
            "5-layer sigmoid",
            "rows centred, gain 1/sqrt(Var f) 0.25 / 0.31",
            "backward gain without centring 0.32 / 0.61, torch's default 2.27 / 1.33",
            "3",
            _DIGITS,
        ),
        Row(
            "10-layer sigmoid",
            "centred by the bias 0.47 / 0.62",
            "backward gain without centring 0.64 / 1.28, torch's default 2.30 / 2.26",
            "3",
            _DIGITS,
        ),
        Row(
            "3-layer sigmoid, 8 x 8 digits, 150 steps of Adam",
            "pre-activations of rms 2 0.035",
            "rms 1 0.066, 4x Glorot without centring 0.036",
            "3",
            _DIGITS,
        ),
        Row("5-layer sigmoid, likewise", "rms 2 0.037", "rms 1 0.088, 4x Glorot without centring 0.041", "3", _DIGITS),
        Row("10-layer sigmoid, likewise", "rms 2 0.040", "rms 1 0.120, 4x Glorot without centring 0.355", "3", _DIGITS),
    ),
    "shaped": (
        Row(
            "30 logistic layers",
            "Deep Kernel Shaping 0.33 / 0.42",
            "centred 0.96 / 1.22, Tailored Activations 0.42 / 0.41",
            "5",
            _SHAPED,
        ),
        Row("15 logistic layers", "Deep Kernel Shaping 0.28 / 0.31", "centred 0.40 / 0.46", "5", _SHAPED),
        Row("10 logistic layers", "Deep Kernel Shaping 0.23 / 0.29", "centred 0.32 / 0.31", "5", _SHAPED),
        Row(
            "30 ELU layers",
            "Deep Kernel Shaping 0.18 / 0.22",
            "orthogonal at the backward gain 0.22 / 0.25",
            "5",
            _SHAPED,
        ),
        Row(
            "3 and 6 layers of powers, 8 x 8 digits, 60 steps of Adam: relu(x)^2 / x |x|",
            "shaped 0.52, 0.71 / 0.52, 0.76",
            "torch's default 0.73, 2.32 / 0.89, 2.30; rms 1 by E f^2 1.15, diverges / 1.05, diverges",
            "2",
            _POWERS,
        ),
        Row(
            "3 layers of exp(-x^2), likewise",
            "shaped 0.54",
            "torch's default 0.75; rms 1 by E f^2 0.55, with a first loss of 3.10 instead of 2.48",
            "2",
            "benchmarks/results/unseen.md",
        ),
        Row("10 and 15 ELU layers (Adam)", "0.18 and 0.19", "orthogonal 0.18 and 0.20: level", "5", _SHAPED),
        Row("30 SELU layers (Adam)", "not shaped 0.24", "Deep Kernel Shaping 0.35", "5", _SHAPED),
        Row("30 tanh layers (Adam)", "not shaped 0.27", "Deep Kernel Shaping 0.35", "5", _SHAPED),
        Row("30 Mish layers (Adam)", "not shaped 0.14", "Deep Kernel Shaping 0.21", "5", _SHAPED),
    ),
    "tanh-deep": (
        Row(
            "100-layer tanh, 400 steps of SGD",
            "singular values with a std of their mean, outputs of rms 1 0.18",
            "output layer of 1/sqrt(fan_in) 0.30, q* = 1/depth with it 0.32, orthogonal at gain 1.05 0.25",
            "2 to 3",
            _DIGITS,
        ),
        Row("50-layer tanh", "0.19 / 0.21", "q* = 1/depth 0.30 / 0.32, forward gain 1.36 / 1.67", "2 to 3", _DIGITS),
        Row("20-layer tanh", "0.15 / 0.20", "q* = 1/depth 0.21 / 0.25, forward gain 0.26 / 0.29", "2 to 3", _DIGITS),
        Row("10-layer tanh", "0.12 / 0.15", "q* = 1/depth 0.17 / 0.19, forward gain 0.12 / 0.13", "2 to 3", _DIGITS),
    ),
    "tanh-shallow": (
        Row(
            "12-layer tanh CNN",
            "forward gain 0.82 / 0.70",
            "delta-orthogonal critical 1.48 / 1.28, Glorot 1.34 / 1.17, torch's default 2.31 / 1.99",
            "3",
            _DIGITS,
        ),
    ),
    "widths": (
        Row(
            "196-512-32-512-10 ReLU",
            "fan_in forward 0.28 / 0.20",
            "torch's default 0.35 / 0.28, Glorot 0.35 / 0.30, fan_out 0.37 / 0.27",
            "3",
            _DIGITS,
        ),
    ),
    "first-layer": (
        Row(
            "inputs 0 to 255 (Adam)",
            "std divided by the measured rms 0.20",
            "He 2.16, torch's default 0.42",
            "3",
            _DIGITS,
        ),
        Row("inputs 0 to 1", "not scaled up 0.33 / 0.21", "scaled up 0.92 / 0.31", "3", _DIGITS),
    ),
    "residual-shared": (
        Row(
            "20 residual blocks without norm, MLP",
            "L^-1/2 on both maps 0.37 / 0.39",
            "1/L on the last alone 0.40 / 0.49, 1/sqrt(L) on the last alone 0.58 / 0.51, He 2.30 / 2.25",
            "3",
            _DIGITS,
        ),
        Row("the same, CNN", "shared 1.71 / 1.02", "on the last alone 1.86 / 1.40", "3", _DIGITS),
    ),
    "residual-single": (
        Row(
            "x + relu(W x), 20 and 8 branches",
            "1/sqrt(L) .340, .348",
            "1/L .350, .348; 1 1.12, .403; torch's default .464, .353",
            "3",
            _DIGITS,
        ),
        Row("x + gelu(W x), 20 branches", "1/sqrt(L) .387", "1/L .457; 1 .948; torch's default .324", "3", _DIGITS),
        Row(
            "x + tanh(W x), 8, 20 and 40 branches",
            "min(1, 6/sqrt(L)) .356, .351, .375",
            "4/sqrt(L) .356, .360, .440; 2.5/sqrt(L) .372, .429, .501; 1/sqrt(L) .458, .491, .571; torch's default "
            ".393, .331, .362",
            "3",
            _DIGITS,
        ),
        Row("x + sin(W x), 10 branches", "1 .285", "1/sqrt(L) .468; torch's default .316", "3", _DIGITS),
        Row("x + softsign(W x), 16 branches", "1 .359", "1/sqrt(L) .436; torch's default .391", "3", _DIGITS),
        Row(
            "x + sin(3 W x), 6 and 12 branches / x + tanh(3 W x), 6 / x + tanh(5 W x), 3; 50 steps of Adam",
            "pre-activations where chi_1^sqrt(branches) = 2: .434, .530 / .453 / .459",
            "variance 1: 1.54 (6) / .506; torch's default 1.34, 1.91 / .473 / .513",
            "2",
            "networks of benchmarks/results/unseen.md",
        ),
        Row("x + tanh(W x) / 8, 8 branches", "1 .376", "2.5/sqrt(L) .379; torch's default .392", "3", _DIGITS),
    ),
    "stream-entry": (
        Row(
            "DETR on a 16-channel ResNet without norm: size of the encoder's start over its plan (geometric mean)",
            "orthogonal shortcuts 0.73",
            "Gaussian shortcuts 0.62",
            "8 draws",
            "predicted and measured sizes",
        ),
        Row("the same: largest growth of a stream", "1.85", "3.13", "8 draws", "predicted and measured sizes"),
        Row("training", "not tested", "", "", ""),
    ),
    "last-map": (
        Row(
            "12-layer Llama (Adam)",
            "1/sqrt(2L) on o and down 2.46",
            "unscaled 2.54 (+-0.04); zero: no difference",
            "2",
            _TEXT,
        ),
        Row("relative to a stream of std below 1, difference of the loss", "-0.07 to -0.10", "", "1 to 2", _TEXT),
    ),
    "post-norm": (
        Row(
            "12-layer post-norm transformer (Adam)",
            "1/sqrt(2L) 3.08",
            "unscaled 3.20 (never leaves the unigram plateau), DeepNorm 3.14 (+-0.03)",
            "2",
            _TEXT,
        ),
    ),
    "no-norm-mixing": (
        Row(
            "12-layer transformer without norm (Adam)",
            "last map by 1/L 2.57",
            "by 1/sqrt(2L) 2.62, T-Fixup 2.87, GPT-2's 0.02 diverges",
            "2",
            _TEXT,
        ),
    ),
    "projections": (
        Row(
            "q and k, 12-layer transformers (Adam)",
            "1/sqrt(fan_in)",
            "zero and half: no difference (+-0.05)",
            "2",
            _TEXT,
        ),
        Row("v, up and gate, difference of the loss", "1/sqrt(fan_in) -0.08 +- 0.04", "0.02: reference", "2", _TEXT),
    ),
    "embedding-untied": (
        Row(
            "12-layer Llama (Adam), difference of the loss at equal initial loss",
            "std 1 -0.48 +- 0.04",
            "std 0.02: reference",
            "2",
            _TEXT,
        ),
        Row("pre-norm GPT, likewise", "std 1 -0.28 +- 0.05", "std 0.02: reference", "2", _TEXT),
    ),
    "embedding-tied": (
        Row(
            "pre-norm GPT, table also the output layer, d = 64, two settings (Adam)",
            "0.55/sqrt(d) 2.71 and 2.80",
            "1/sqrt(d) 2.76 and 2.86, 0.02 2.94, std 1 2.79 with an initial loss of 22.7",
            "1 to 2",
            _TEXT,
        ),
    ),
    "position": (
        Row(
            "ViT on digits, 200 steps of Adam, patches of rms 1, held-out accuracy in brackets",
            "positions of std 1 0.37 (0.87)",
            "std 0.2 1.02 (0.64), zero 1.43 (0.51)",
            "2 to 3",
            _DIGITS,
        ),
        Row("the same, patches of rms 0.2", "not tested", "positions of 0.02 1.15 (0.62)", "2 to 3", _DIGITS),
        Row("positions beside tokens", "not isolated", "", "", ""),
    ),
    "head": (
        Row(
            "pre-norm GPT with an output layer of its own (Adam)",
            "1/sqrt(d) 2.62",
            "1/d 2.75, zero 2.83 (+-0.05); same order after 500 steps",
            "2",
            _TEXT,
        ),
        Row("plain networks", "1/sqrt(d)", "zero is never clearly better", "3", _DIGITS),
        Row(
            "14 classifiers (MLP, residual, attention, LSTM, CNN, graph), 100 steps: rms 1 against calm",
            "better on 7 (leaky 0.3, 15 layers: .349)",
            "calm better on 1, level on 6 (leaky 0.3, 15 layers: .407)",
            "5",
            "benchmarks/results/heads.md",
        ),
        Row(
            "autoencoder of the same digits, squared error",
            "rms 1: .135",
            "calm .080",
            "5",
            "benchmarks/results/heads.md",
        ),
        Row(
            "character LSTM, difference of the loss",
            "1/sqrt(h): reference",
            "a small output layer +0.25 +- 0.06",
            "3",
            _TEXT,
        ),
    ),
    "batch-norm": (
        Row(
            "10-block ResNet",
            "gamma 1 0.58 / 0.57",
            "gamma 0 1.28 / 0.60; He and torch's default: no difference under batch norm",
            "3",
            _DIGITS,
        ),
        Row(
            "the same, last gamma of each branch",
            "1 0.43 / 0.42",
            "1/sqrt(branches) 0.54 / 0.48 (sd 0.08 / 0.05)",
            "2 to 3",
            _DIGITS,
        ),
        Row("the same, SGD at 0.01", "1 0.63", "1/sqrt(branches) 1.76", "2 to 3", _DIGITS),
    ),
    "clones": (
        Row(
            "post-norm encoder with 12 layers (Adam)", "drawn independently 2.92", "identical 3.17 (+-0.03)", "2", _TEXT
        ),
    ),
    "recurrent": (
        Row("character LSTM (Adam)", "orthogonal 2.01 to 2.08", "torch's default 2.12 (+-0.06)", "3", _TEXT),
        Row("the same at a low learning rate", "0.22 ahead", "torch's default: reference", "1", _TEXT),
    ),
    "forget": (
        Row("character LSTM, difference of the loss", "forget bias 1 +0.07 +- 0.06", "bias 0: reference", "3", _TEXT),
        Row("adding task", "no difference", "", "3", _TEXT),
    ),
    "chrono": (
        Row(
            "adding task over 100 steps",
            "chrono 0.001 on every seed",
            "all five other starts 0.164, the loss of a constant",
            "3",
            _TEXT,
        ),
    ),
    "siren": (
        Row(
            "held-out pixels, first layer",
            "std 7 (x 30) 26.3 dB",
            "std 15 22.8 dB, torch's default 8.5 dB",
            "2 to 3",
            "sines on held-out pixels",
        ),
        Row(
            "the same, hidden layers",
            "std 1, as SIREN's own rule",
            "std 2 loses 4 dB",
            "2 to 3",
            "sines on held-out pixels",
        ),
        Row("the same, last layer: loss", "small", "unit: 30 times as much", "2 to 3", "sines on held-out pixels"),
    ),
    "padding": (
        Row("training", "corrected for zero padding: no difference", "", "3", _DIGITS),
        Row("q after 30 layers", "corrected 0.31", "not corrected 0.0009", "1", "predicted and measured sizes"),
    ),
}
