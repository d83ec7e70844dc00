"""The measurements behind the defaults of ``auto``, and every constant they decide, in one place.

The numbers are final training losses, "SGD / Adam" at the best learning rate of a grid, from two studies of narrow
networks on real data (5,000 MNIST digits; characters of Python's own documentation), 2-3 seeds each: they decide
defaults and do not settle what happens at scale. docs/recipes.md describes the set-up. To change a default: measure,
change the number here, say so in the changelog.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EVIDENCE"]

# Hidden activations from which a plain stack is mirrored. Measured at 4, 6, 8, 9, 19, 29 (convolutions) and 49: gains
# that grow with depth; at 2 and 3: inside noise, never worse.
MIRROR_FROM = 4
# Hidden activations from which an unmirrored plain stack is orthogonal. Measured gain at 9, 1-2 standard deviations
# at 19.
ORTHOGONAL_FROM = 4
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
# sin(w x) with w from here on is a coordinate network and not an activation like others.
SIREN_OMEGA = 5.0
# Std of a learned token that joins a stream of patches; the position added to it gives it its size.
TOKEN_STD = 0.02
# Tied table: std relative to the one that gives logits of rms 1; GPT-2's 0.02 at d = 768 is 0.554.
TIED_SHARE = 0.554
# Root mean square of the logits under head="calm": the loss starts within 0.005 of ln C.
CALM_RMS = 0.1
# Second moment of the input from which the first layer is scaled down; below, a batch's scatter about 1 changes
# nothing.
LARGE_INPUT = 1.25
# Second moment below which a head is not scaled up any further; a head on a recurrent state keeps 1 / sqrt(h).
FAINTEST = 0.25
# Second moment of a network's input outside of which the reader is warned.
INPUT_RANGE = (0.3, 3.0)

EVIDENCE: Mapping[str, str] = {
    "mirrored": (
        "50-layer ReLU 0.40 / 0.51 against He 1.93 / 1.70, orthogonal 1.78 / 1.69, torch's default 2.30 / 2.30; "
        "20-layer GELU 0.28 / 0.35 against 1.82 / 1.77; 30-layer CNN 0.82 / 0.82 against 2.16 / 1.96. Held-out "
        "accuracy 0.82-0.89 against 0.29-0.63. By depth (benchmarks/training/mirrored.py): 8 hidden layers 0.21 / 0.20 "
        "against 0.28 / 0.28 unmirrored, 6: 0.22 / 0.21 against 0.28 / 0.24, 4: 0.19 / 0.20 against 0.23 / 0.23, "
        "2 and 3: inside noise. 20 layers of width 256: 0.06 against 0.21 orthogonal and 0.23 He. Mish, for which "
        "a pair is only nearly linear: 0.13 against 0.24 for orthogonal. Kernels of the 30-layer CNN: flattened 0.77 / "
        "0.53 (held out 0.75 / 0.82), delta 0.83 / 0.55 (0.73 / 0.78), isometric 0.91 / 0.50 (0.69 / 0.86)."
    ),
    "orthogonal": "10-layer ReLU: orthogonal at gain sqrt(2) 1.13 / 1.00, He 1.58 / 1.20; at 50 layers inside noise.",
    "gelu-gain": (
        "20-layer GELU, unmirrored: forward, backward, geometric-mean gain and sqrt(2) cannot be told apart (1.84 / "
        "1.63 / 1.62 / 1.77). ELU and SELU (benchmarks/results/study.md): orthogonal at the backward gain 0.18 and "
        "0.21, Gaussian at the forward gain 0.28 and 0.30, mirrored 0.20 and 0.40, orthogonal at sqrt(2) 0.23 and 0.50."
        " 50-layer GELU: mirrored 0.13, no unmirrored gain below 1.9 (orthogonal at the backward gain 2.30)."
    ),
    "centred": (
        "sigmoid, rows centred, gain 1/sqrt(Var f): 5 layers 0.25 / 0.31, 10 layers (centred by bias) 0.47 / 0.62; "
        "backward gain without centring 0.32 / 0.61 and 0.64 / 1.28; torch's default 2.27 / 1.33 and 2.30 / 2.26. "
        "Pre-activations of rms 2, where a logistic unit bends, against rms 1 (8 x 8 digits, Adam, 150 steps, 3 "
        "seeds): 3 layers 0.035 against 0.066, 5: 0.037 against 0.088, 10: 0.040 against 0.120; 4x Glorot "
        "uncentred 0.036, 0.041 and 0.355."
    ),
    "tanh-deep": (
        "100-layer tanh (SGD, 400 steps): q* where singular values spread by their mean, outputs of rms 1 0.18; "
        "the same q* with a head of 1/sqrt(fan_in) 0.30; q* = 1/depth with that head 0.32; orthogonal at gain "
        "1.05 throughout 0.25. By depth, against q* = 1/depth and against the forward gain: 50 layers 0.19 / 0.21 "
        "against 0.30 / 0.32 and 1.36 / 1.67, 20: 0.15 / 0.20 against 0.21 / 0.25 and 0.26 / 0.29, 10: 0.12 / "
        "0.15 against 0.17 / 0.19 and 0.12 / 0.13."
    ),
    "tanh-shallow": (
        "12-layer tanh CNN: forward gain 0.82 / 0.70, delta-orthogonal critical 1.48 / 1.28, Glorot 1.34 / 1.17, "
        "torch's default 2.31 / 1.99."
    ),
    "widths": (
        "196-512-32-512-10 ReLU: fan_in forward 0.28 / 0.20, torch's default 0.35 / 0.28, Glorot 0.35 / 0.30, "
        "fan_out 0.37 / 0.27."
    ),
    "first-layer": (
        "inputs 0..255: std divided by the measured moment 0.20 (Adam), He 2.16, torch's default 0.42. Inputs "
        "0..1: scaling up costs "
        "(0.92 / 0.31 against 0.33 / 0.21), so the moment only ever scales down."
    ),
    "residual-shared": (
        "20 residual blocks without norm, MLP: L^-1/2 on both maps 0.37 / 0.39, 1/L on the last alone 0.40 / 0.49, "
        "1/sqrt(L) on the last "
        "alone 0.58 / 0.51, He 2.30 / 2.25; CNN: shared 1.71 / 1.02, on the last alone 1.86 / 1.40."
    ),
    "stream-entry": (
        "DETR on a 16-channel ResNet without norm, 8 draws: the encoder starts at 0.62 of its planned size "
        "(geometric mean) with Gaussian shortcuts, at 0.73 with orthogonal ones; largest growth of a stream 3.13 "
        "and 1.85. Training: not tested."
    ),
    "last-map": (
        "12-layer Llama: 1/sqrt(2L) on o and down 2.46, unscaled 2.54 (+-0.04); relative to a stream of std below "
        "1: -0.07 to -0.10. "
        "Zero instead: no difference."
    ),
    "post-norm": "12-layer post-norm: 1/sqrt(2L) 3.08, unscaled 3.20 (never leaves the unigram plateau), DeepNorm "
    "3.14 (+-0.03).",
    "no-norm-mixing": (
        "12-layer transformer without norm: the last map by 1/L 2.57, by 1/sqrt(2L) 2.62, T-Fixup 2.87; GPT-2's "
        "0.02 diverges."
    ),
    "projections": "q, k: zero, half and 1/sqrt(fan_in) cannot be told apart (+-0.05). v, up, gate: -0.08 +- 0.04 "
    "against 0.02.",
    "embedding-untied": "std 1 against 0.02: Llama -0.48 +- 0.04, pre-norm GPT -0.28 +- 0.05, at equal initial loss.",
    "embedding-tied": (
        "tied, d = 64: 0.55/sqrt(d) 2.71 and 2.80, 1/sqrt(d) 2.76 and 2.86, 0.02 2.94, std 1 2.79 with an initial "
        "loss of 22.7."
    ),
    "position": (
        "ViT on digits, 200 steps of Adam: positions of std 1 beside patches of rms 1 0.37 (held out 0.87), "
        "of 0.2 1.02 (0.64), zero 1.43 (0.51); positions of 0.02 beside patches of 0.2 1.15 (0.62). Beside "
        "tokens: not isolated."
    ),
    "head": (
        "pre-norm GPT, untied: 1/sqrt(d) 2.62, 1/d 2.75, zero 2.83 (+-0.05), the same order after 500 steps. Plain "
        "networks: zero is "
        "never clearly better. LSTM: a small head costs 0.25 +- 0.06."
    ),
    "batch-norm": (
        "10-block ResNet: gamma 1 0.58 / 0.57, gamma 0 1.28 / 0.60; He and torch's default cannot be told apart "
        "under batch norm. Last gamma of each branch at 1 0.43 / 0.42, at 1/sqrt(branches) 0.54 / 0.48 (sd 0.08 / "
        "0.05), and far slower at low rates (SGD at 0.01: 0.63 against 1.76), so such a stream grows by the "
        "square root of its branches."
    ),
    "clones": "post-norm encoder with 12 identical layers 3.17, drawn independently 2.92 (+-0.03).",
    "recurrent": "character LSTM: orthogonal 2.01-2.08, torch's default 2.12 (+-0.06); at low learning rates 0.22 "
    "ahead.",
    "forget": "forget bias 1: no difference on the language model (+0.07 +- 0.06) or the adding task; harmless.",
    "chrono": "adding task over 100 steps: chrono 0.001 on 3 of 3 seeds, all five others 0.164 (the baseline).",
    "siren": (
        "held-out pixels: first layer of std 7 (x 30) 26.3 dB, std 15 22.8 dB; hidden layers of std 1 equal "
        "SIREN's own rule, std 2 loses "
        "4 dB; torch's default 8.5 dB. A small last layer trains, a unit one is 30 times worse."
    ),
    "padding": "correcting for zero padding: no difference in training; q after 30 layers 0.31 instead of 0.0009.",
}
