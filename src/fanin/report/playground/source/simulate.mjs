// One real network with the weights of its seed, on two inputs: what the dots of the charts are.

import { streamKey } from "./keys.mjs";
import { PIXELS, backward, buildNetwork, forward } from "./network.mjs";
import { normals } from "./normal.mjs";
import { words } from "./philox.mjs";

export const SAMPLES = 16; // inputs of a histogram; the first two are the pair

// kind of input -> cosine of the pair; digits have their own.
export const COSINES = { half: 0.5, unrelated: 0, close: 0.99 };

const drawn = (seed, name, count) => Float64Array.from(normals(words(streamKey(seed, name), count)));
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const sized = (a, rms) => a.map((x) => (x * rms * Math.sqrt(a.length)) / Math.sqrt(dot(a, a) || 1));

// SAMPLES inputs of the given rms: random ones with the given cosine to the first, or real digits.
export function makeInputs({ input, size, seed }, digits) {
  if (input === "digits") return digits.map((d) => sized(d, size));
  const first = sized(drawn(seed, "input.0", PIXELS), 1),
    c = COSINES[input];
  const others = Array.from({ length: SAMPLES - 1 }, (_, i) => {
    const raw = drawn(seed, `input.${i + 1}`, PIXELS),
      along = dot(raw, first) / PIXELS;
    const apart = sized(
      raw.map((x, p) => x - along * first[p]),
      1,
    );
    return apart.map((x, p) => Math.sqrt(1 - c * c) * x + c * first[p]);
  });
  return [first, ...others].map((x) => sized(x, size));
}

// 1 - cosine of two vectors, without cancellation; 0 where one of them is nothing.
export function gapOf(a, b) {
  const la = Math.sqrt(dot(a, a)),
    lb = Math.sqrt(dot(b, b));
  if (!(la > 0 && lb > 0)) return 0;
  return 0.5 * a.reduce((sum, x, i) => sum + (x / la - b[i] / lb) ** 2, 0);
}

export const pairOf = (inputs) => ({ square: dot(inputs[0], inputs[0]) / PIXELS, gap: gapOf(inputs[0], inputs[1]) });

const meanSquare = (a) => dot(a, a) / a.length;

// q, gap and gradient of every layer (the gradient over that of the last), and the pre-activations of all samples.
export function simulate(settings, inputs) {
  const net = buildNetwork(settings, Float64Array),
    { width } = net,
    flat = new Float64Array(inputs.length * PIXELS);
  inputs.forEach((x, i) => flat.set(x, i * PIXELS));
  const all = forward(net, flat, inputs.length),
    one = forward(net, inputs[0], 1);
  const gradients = backward(net, one, sized(drawn(settings.seed, "gradient", width), 1), 1);
  const row = (h, i) => h.subarray(i * width, (i + 1) * width);
  return {
    q: all.h.map((h) => meanSquare(row(h, 0))),
    gap: all.h.map((h) => gapOf(row(h, 0), row(h, 1))),
    gradient: gradients.map(meanSquare),
    streams: all.h,
  };
}
