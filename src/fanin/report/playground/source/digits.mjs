// The 8 x 8 digits: 64 pixels of four bits each, then the labels of four bits each, as tools/playground_digits.py packs them.

import { PIXELS } from "./network.mjs";

// Pixels 0..15 and labels of `count` digits.
export function unpack(base64, count) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const nibble = (i) => (i & 1 ? bytes[i >> 1] >> 4 : bytes[i >> 1] & 15);
  return {
    count,
    pixels: Uint8Array.from({ length: count * PIXELS }, (_, i) => nibble(i)),
    labels: Uint8Array.from({ length: count }, (_, i) => nibble(count * PIXELS + i)),
  };
}

// All pixels with mean 0 and standard deviation 1, every sixth digit kept out of the training.
export function split({ count, pixels, labels }) {
  const mean = pixels.reduce((s, x) => s + x, 0) / pixels.length;
  const std = Math.sqrt(pixels.reduce((s, x) => s + (x - mean) ** 2, 0) / pixels.length);
  const part = (keep) => {
    const chosen = Array.from({ length: count }, (_, i) => i).filter(keep);
    const x = new Float32Array(chosen.length * PIXELS);
    chosen.forEach((digit, row) => {
      for (let p = 0; p < PIXELS; p++) x[row * PIXELS + p] = (pixels[digit * PIXELS + p] - mean) / std;
    });
    return { x, y: Uint8Array.from(chosen, (digit) => labels[digit]), count: chosen.length };
  };
  return { train: part((i) => i % 6 !== 5), held: part((i) => i % 6 === 5) };
}
