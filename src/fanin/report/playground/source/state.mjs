// The settings of the page: read from its controls and from the address, written back to both.

import { ACTIVATIONS } from "./activations.mjs";
import { LAWS } from "./laws.mjs";
import { DEFAULTS } from "./presets.mjs";

export const CHOICES = {
  law: Object.fromEntries(Object.entries(LAWS).map(([name, law]) => [name, law.label])),
  activation: Object.fromEntries(Object.entries(ACTIVATIONS).map(([name, act]) => [name, act.label])),
  norm: { none: "none", layer: "LayerNorm before the activation", rms: "RMSNorm before the activation" },
  residual: { none: "none", sum: "x + f(x)", scaled: "x + f(x) / √(2L)" },
  input: {
    half: "random, cosine 0.5",
    unrelated: "random, cosine 0",
    close: "random, cosine 0.99",
    digits: "real digits",
  },
};

// name -> least, most; widths and depths are whole numbers.
const RANGES = { depth: [2, 60], width: [8, 128], scale: [0.1, 10], size: [0.01, 100], seed: [0, 999999] };
export const WIDTHS = [8, 16, 32, 64, 128];

function numberOf(name, text) {
  const [low, high] = RANGES[name],
    value = Number(text);
  if (text === "" || !Number.isFinite(value)) return DEFAULTS[name];
  const kept = Math.min(Math.max(value, low), high);
  if (name === "width") return WIDTHS.reduce((a, b) => (Math.abs(b - kept) < Math.abs(a - kept) ? b : a));
  return name === "depth" || name === "seed" ? Math.round(kept) : kept;
}

// Whether an address holds settings; that of the skip link does not.
export const isState = (hash) => hash.includes("=");

// Settings of an address such as #law=zeros&depth=10; what is missing or not allowed is the default.
export function fromHash(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, "")),
    settings = { ...DEFAULTS };
  for (const [name, text] of given) {
    if (name in RANGES) settings[name] = numberOf(name, text);
    else if (name in CHOICES && Object.hasOwn(CHOICES[name], text)) settings[name] = text;
  }
  return settings;
}

export const toHash = (settings) => `#${new URLSearchParams(Object.entries(settings).map(([k, v]) => [k, String(v)]))}`;

export const equal = (a, b) => Object.keys(DEFAULTS).every((name) => a[name] === b[name]);

// Two figures of a slider that moves by powers of ten.
export const fromLog = (position) => Number((10 ** Number(position)).toPrecision(3));
