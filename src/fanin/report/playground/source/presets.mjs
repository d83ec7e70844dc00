// The stories of the page: a setting each, and three sentences on what to look at.

const START = {
  depth: 20,
  width: 64,
  law: "he_normal",
  scale: 1,
  activation: "relu",
  norm: "none",
  residual: "none",
  input: "half",
  size: 1,
  seed: 0,
};

export const DEFAULTS = Object.freeze(START);

export const PRESETS = [
  {
    name: "zeros",
    title: "Why not zeros?",
    set: { depth: 10, law: "zeros" },
    text: [
      "With all weights zero, every layer after the input is zero, whatever you show the network.",
      "No gradient reaches any weight below the last layer, so they stay zero for ever.",
      "Equal weights would be no better: units that start equal get equal gradients and stay one unit; random numbers are what makes them differ.",
    ],
  },
  {
    name: "too-small",
    title: "N(0, 0.01²)",
    set: { depth: 10, law: "normal" },
    text: [
      "A standard deviation of 0.01 ignores how many inputs a unit sums.",
      "With 64 inputs each layer shrinks the signal about eighteen times, so ten layers leave almost nothing.",
      "The gradient shrinks just as much on the way back: train it, and the loss does not move.",
    ],
  },
  {
    name: "logistic",
    title: "4× for the logistic",
    set: { depth: 5, law: "glorot_logistic", activation: "sigmoid" },
    text: [
      "The logistic function has slope 1/4 at most, so with plain Glorot weights a gradient loses a factor of four in each layer.",
      "Weights four times as large make good for that, and keep more than half of it.",
      "Choose “Glorot uniform” to see the difference; that inputs come out alike is the logistic's own fault: its values are all positive.",
    ],
  },
  {
    name: "third",
    title: "The 1/3",
    set: { depth: 10, law: "classic_uniform", activation: "tanh" },
    text: [
      "Weights between −1/√n and 1/√n have variance 1/(3n), not 1/n: the mean of a square on (−1, 1) is 1/3.",
      "So every layer keeps a third of the signal's mean square, and a third of the gradient's.",
      "It is still PyTorch's default for Linear and Conv layers; compare “LeCun normal”, which has 1/n.",
    ],
  },
  {
    name: "relu-two",
    title: "ReLU needs 2",
    set: { depth: 30, law: "lecun_normal" },
    text: [
      "A ReLU sets half of its inputs to zero, and with them half of the mean square.",
      "Weights of variance 1/n therefore lose a factor of two a layer: 30 layers, a thousand million.",
      "Choose “He normal”, which has variance 2/n, and the theory's line is level again.",
    ],
  },
  {
    name: "deep",
    title: "60 layers deep",
    set: { depth: 60, law: "he_normal" },
    text: [
      "He's weights keep the signal and the gradient level on average, also through 60 layers.",
      "But one network of this width may be far from the average (the band), and two different inputs come out almost the same.",
      "That is why plain networks this deep are hard to train, although nothing vanishes.",
    ],
  },
  {
    name: "residual",
    title: "Skips and 1/√(2L)",
    set: { depth: 60, law: "he_normal", residual: "scaled" },
    text: [
      "A skip adds what a layer computes to what it was given, so each layer makes the signal larger.",
      "Unscaled, the mean square doubles in every layer: choose “x + f(x)” and see 60 doublings.",
      "Multiplied by 1/√(2L), all L branches together add a fixed share, and signal, gradient and likeness hardly move.",
    ],
  },
  {
    name: "norm",
    title: "A norm forgives",
    set: { depth: 20, law: "lecun_normal", scale: 3, norm: "layer" },
    text: [
      "These weights are three times as large as LeCun's: without a norm, twenty layers would make the signal a million times larger.",
      "LayerNorm brings what each layer reads back to size one, so signal and gradient stay level.",
      "It forgives sizes, not everything: two inputs still grow alike, and an optimizer's steps turn weights that are far too small (“× 0.3”) too fast.",
    ],
  },
  {
    name: "mirrored",
    title: "He or mirrored?",
    set: { depth: 40, law: "mirrored_orthogonal" },
    text: [
      "Mirrored weights come in pairs W and −W, so two ReLUs together pass on the whole signal: the network starts as a rotation.",
      "Sizes, gradients and the likeness of two inputs stay as they are through any number of layers.",
      "Choose “He normal” for the same depth: the likeness climbs towards 1, and the sizes wander.",
    ],
  },
];
