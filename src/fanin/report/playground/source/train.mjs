// Training on the digits, in a worker: cross entropy, Adam, no biases, in slices of time so that progress is shown.

import { split, unpack } from "./digits.mjs";
import { CLASSES, PIXELS, activateBack, backward, buildNetwork, forward, product, transposed } from "./network.mjs";

const BATCH = 64;
export const RATE = 2e-3;
const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;
export const STEPS = 300; // the rate falls to 0 over them, on a straight line
const SLICE = 60; // milliseconds between two messages
const BETWEEN = 20; // steps between two looks at the unseen digits

// Probabilities minus targets over the batch, in place of the logits; returns the mean loss.
function lossBack(logits, labels, batch) {
  let loss = 0;
  for (let b = 0; b < batch; b++) {
    const row = logits.subarray(b * CLASSES, (b + 1) * CLASSES),
      top = row.reduce((m, x) => Math.max(m, x), -Infinity);
    const sum = row.reduce((s, x) => s + Math.exp(x - top), 0);
    loss += (Math.log(sum) + top - row[labels[b]]) / batch;
    for (let k = 0; k < CLASSES; k++) row[k] = (Math.exp(row[k] - top) / sum - (k === labels[b] ? 1 : 0)) / batch;
  }
  return loss;
}

function adam(weight, gradient, memory, step) {
  const { first, second } = memory,
    rate = RATE * (1 - (step - 1) / STEPS),
    c1 = 1 - BETA1 ** step,
    c2 = 1 - BETA2 ** step;
  for (let i = 0; i < weight.length; i++) {
    const g = gradient[i];
    first[i] = BETA1 * first[i] + (1 - BETA1) * g;
    second[i] = BETA2 * second[i] + (1 - BETA2) * g * g;
    weight[i] -= (rate * (first[i] / c1)) / (Math.sqrt(second[i] / c2) + EPSILON);
  }
}

const memoryOf = (weight) => ({ first: new Float32Array(weight.length), second: new Float32Array(weight.length) });

// A training run: `step()` takes one step and gives its loss, `accuracy()` the share of unseen digits that are right.
export function trainer(settings, digits) {
  const { train, held } = split(digits),
    net = buildNetwork(settings, Float32Array),
    { width } = net,
    head = net.head();
  const size = (part) => part.x.map((x) => x * settings.size),
    trainX = size(train),
    heldX = size(held);
  const memories = net.weights.map(memoryOf),
    headMemory = memoryOf(head),
    order = shuffled(train.count);
  let step = 0;

  const logitsOf = (state, batch) => product(state.x, head, batch, CLASSES, width, new Float32Array(batch * CLASSES));

  function update(weight, memory, g, x, [batch, out, fanIn]) {
    const gradient = product(
      transposed(g, batch, out),
      transposed(x, batch, fanIn),
      out,
      fanIn,
      batch,
      new Float32Array(out * fanIn),
    );
    adam(weight, gradient, memory, step);
  }

  return {
    step() {
      const { x, y } = batchOf(order, step++, trainX, train.y),
        run = forward(net, x, BATCH),
        top = run.last();
      const logits = logitsOf(top, BATCH),
        loss = lossBack(logits, y, BATCH);
      const back = product(
        logits,
        transposed(head, CLASSES, width),
        BATCH,
        width,
        CLASSES,
        new Float32Array(BATCH * width),
      );
      const inputs = [x, ...run.states.map((s) => s.x)],
        updates = [];
      backward(net, run, activateBack(net, top, back, BATCH), BATCH, (l, g) => updates.push([l, g]));
      for (const [l, g] of updates)
        update(net.weights[l], memories[l], g, inputs[l], [BATCH, width, l ? width : PIXELS]);
      update(head, headMemory, logits, top.x, [BATCH, CLASSES, width]);
      return loss;
    },
    accuracy() {
      const logits = logitsOf(forward(net, heldX, held.count).last(), held.count);
      let right = 0;
      for (let i = 0; i < held.count; i++) {
        const row = logits.subarray(i * CLASSES, (i + 1) * CLASSES);
        right +=
          Number.isFinite(row[0]) && row.indexOf(row.reduce((m, x) => Math.max(m, x), -Infinity)) === held.y[i] ? 1 : 0;
      }
      return right / held.count;
    },
  };
}

// A fixed order of the digits: steps of a number that shares no factor with how many there are.
function shuffled(count) {
  const stride = 619;
  return Array.from({ length: count }, (_, i) => (i * stride + 7) % count);
}

function batchOf(order, step, x, y) {
  const chosen = Array.from({ length: BATCH }, (_, i) => order[(step * BATCH + i) % order.length]),
    out = new Float32Array(BATCH * PIXELS);
  chosen.forEach((digit, row) => out.set(x.subarray(digit * PIXELS, (digit + 1) * PIXELS), row * PIXELS));
  return { x: out, y: chosen.map((digit) => y[digit]) };
}

// The worker: {settings, digits, count} starts a run; every slice of time a message tells how far it is.
export function serveTraining(scope) {
  scope.onmessage = ({ data }) => {
    const run = trainer(data.settings, unpack(data.digits, data.count));
    const losses = [];
    let accuracy = run.accuracy();
    let asked = 0;
    const slice = () => {
      const end = performance.now() + SLICE;
      while (performance.now() < end && losses.length < STEPS) losses.push(run.step());
      const finite = Number.isFinite(losses[losses.length - 1]);
      const done = losses.length >= STEPS || !finite;
      if (done || losses.length >= asked + BETWEEN) {
        accuracy = run.accuracy();
        asked = losses.length;
      }
      scope.postMessage({ losses: losses.slice(), accuracy, done, finite });
      if (!done) setTimeout(slice);
    };
    scope.postMessage({ losses: [], accuracy, done: false, finite: true });
    slice();
  };
}
