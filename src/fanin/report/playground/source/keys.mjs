// Stream keys, as fanin.streams.keys makes them: BLAKE2b of the name, keyed by the seed (RFC 7693).

const MASK = (1n << 64n) - 1n;
const IV = [
  0x6a09e667f3bcc908n,
  0xbb67ae8584caa73bn,
  0x3c6ef372fe94f82bn,
  0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n,
  0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn,
  0x5be0cd19137e2179n,
];
const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
const BLOCK = 128;
const LANES = [
  [0, 4, 8, 12],
  [1, 5, 9, 13],
  [2, 6, 10, 14],
  [3, 7, 11, 15],
  [0, 5, 10, 15],
  [1, 6, 11, 12],
  [2, 7, 8, 13],
  [3, 4, 9, 14],
];

const turned = (x, by) => ((x >> by) | (x << (64n - by))) & MASK;

// One quarter round of BLAKE2b on four of the sixteen words.
function mix(v, [a, b, c, d], x, y) {
  v[a] = (v[a] + v[b] + x) & MASK;
  v[d] = turned(v[d] ^ v[a], 32n);
  v[c] = (v[c] + v[d]) & MASK;
  v[b] = turned(v[b] ^ v[c], 24n);
  v[a] = (v[a] + v[b] + y) & MASK;
  v[d] = turned(v[d] ^ v[a], 16n);
  v[c] = (v[c] + v[d]) & MASK;
  v[b] = turned(v[b] ^ v[c], 63n);
}

function compress(h, block, count, last) {
  const m = Array.from({ length: 16 }, (_, i) => word64(block, 8 * i));
  const v = [...h, ...IV];
  v[12] ^= BigInt(count);
  if (last) v[14] ^= MASK;
  for (let round = 0; round < 12; round++) {
    const s = SIGMA[round % 10];
    LANES.forEach((lane, i) => mix(v, lane, m[s[2 * i]], m[s[2 * i + 1]]));
  }
  for (let i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

function word64(bytes, at) {
  let word = 0n;
  for (let i = 7; i >= 0; i--) word = (word << 8n) | BigInt(bytes[at + i] ?? 0);
  return word;
}

// The first digestSize bytes of BLAKE2b(message), keyed, with a person string of 16 bytes.
export function blake2b(message, { key, person, digestSize }) {
  const h = IV.slice();
  h[0] ^= BigInt(digestSize | (key.length << 8) | (1 << 16) | (1 << 24));
  h[6] ^= word64(person, 0);
  h[7] ^= word64(person, 8);
  const start = key.length ? BLOCK : 0;
  const data = new Uint8Array(start + message.length);
  data.set(key);
  data.set(message, start);
  for (let at = 0; ; at += BLOCK) {
    const last = at + BLOCK >= data.length;
    compress(h, data.subarray(at, at + BLOCK), last ? data.length : at + BLOCK, last);
    if (last) break;
  }
  return Uint8Array.from({ length: digestSize }, (_, i) => Number((h[i >> 3] >> BigInt(8 * (i & 7))) & 255n));
}

const utf8 = (text) => new TextEncoder().encode(text);
const word32 = (bytes, at) => (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;

// The key of the stream that fills the parameter `name` under `seed`: fanin.key(seed, name).
export function streamKey(seed, name) {
  const seedBytes = Uint8Array.from({ length: 8 }, (_, i) => Number((BigInt(seed) >> BigInt(8 * i)) & 255n));
  const person = new Uint8Array(16);
  person.set(utf8("fanin-v1"));
  const digest = blake2b(utf8(name), { key: seedBytes, person, digestSize: 16 });
  return { k0: word32(digest, 0), k1: word32(digest, 4), c2: word32(digest, 8), c3: word32(digest, 12) };
}
