// The 32-bit words of a stream: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011), as fanin.streams.reference defines it.

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

// Upper 32 bits of the product of two 32-bit words, by halves of 16 bits.
function high(a, b) {
  const a0 = a & 0xffff,
    a1 = a >>> 16,
    b0 = b & 0xffff,
    b1 = b >>> 16;
  const mid = a1 * b0 + ((a0 * b0) >>> 16);
  const other = a0 * b1 + (mid & 0xffff);
  return (a1 * b1 + (mid >>> 16) + (other >>> 16)) | 0;
}

// Words of elements 0 .. count - 1 of the stream; `first` (a multiple of 4, below 2^53) shifts the start.
export function words(key, count, first = 0) {
  const out = new Uint32Array((count + 3) & ~3);
  for (let at = 0; at < count; at += 4) {
    const block = first / 4 + at / 4;
    let x0 = block | 0,
      x1 = Math.floor(block / 4294967296) | 0,
      x2 = key.c2 | 0,
      x3 = key.c3 | 0;
    if (block > 0x7fffffff) x0 = (block % 4294967296) | 0;
    let k0 = key.k0 | 0,
      k1 = key.k1 | 0;
    for (let round = 0; round < 10; round++) {
      const p0 = high(M0, x0),
        p1 = high(M1, x2);
      const low0 = Math.imul(M0, x0),
        low1 = Math.imul(M1, x2);
      x0 = p1 ^ x1 ^ k0;
      x1 = low1;
      x2 = p0 ^ x3 ^ k1;
      x3 = low0;
      k0 = (k0 + W0) | 0;
      k1 = (k1 + W1) | 0;
    }
    out[at] = x0;
    out[at + 1] = x1;
    out[at + 2] = x2;
    out[at + 3] = x3;
  }
  return out.subarray(0, count);
}
