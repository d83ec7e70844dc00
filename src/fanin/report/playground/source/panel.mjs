// The training panel: a run in a worker, its loss, and what earlier runs of this visit reached.

import { drawLosses, table } from "./charts.mjs";
import { figure, percent } from "./numbers.mjs";
import { CHOICES } from "./state.mjs";
import { STEPS } from "./train.mjs";

const CHANCE = Math.log(10);
const LONGEST = 8;
const find = (id) => document.getElementById(id);

function nameOf(s) {
  const parts = [CHOICES.law[s.law], CHOICES.activation[s.activation], `${s.depth} layers of ${s.width}`];
  if (s.scale !== 1) parts[0] += ` × ${figure(s.scale)}`;
  if (s.norm !== "none") parts.push(s.norm === "layer" ? "LayerNorm" : "RMSNorm");
  if (s.residual !== "none") parts.push(CHOICES.residual[s.residual]);
  return parts.join(", ");
}

export function trainingPanel(source, data, settingsNow) {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" })),
    runs = [];
  let worker = null,
    last = null;

  const stop = () => {
    worker?.terminate();
    worker = null;
    find("train").textContent = "Train on the digits";
  };

  function start() {
    const settings = { ...settingsNow() },
      began = performance.now(),
      name = nameOf(settings);
    worker = new Worker(address);
    find("train").textContent = "Stop";
    find("run").hidden = find("progress").hidden = false;
    find("train-text").textContent = `Training: ${name}.`;
    worker.onmessage = ({ data: message }) => {
      show(message, (performance.now() - began) / 1000);
      if (!message.done) return;
      stop();
      finish(message, name, (performance.now() - began) / 1000);
    };
    worker.onerror = () => {
      stop();
      find("train-text").textContent = "This browser does not let the page start a worker, so it cannot train here.";
    };
    worker.postMessage({ settings, digits: data.pixels, count: data.count });
  }

  function show({ losses, accuracy, finite }, seconds) {
    last = { losses, steps: STEPS, chance: CHANCE };
    drawLosses(find("losses"), last);
    find("progress").value = finite ? losses.length / STEPS : 1;
    find("train-now").textContent =
      `step ${losses.length} of ${STEPS}, ${seconds.toFixed(1)} s, right on unseen digits: ${percent(accuracy)}`;
    find("train-now").dataset.accuracy = String(accuracy);
  }

  function finish({ accuracy, finite }, name, seconds) {
    const how =
      accuracy > 0.9
        ? "It learned."
        : accuracy > 0.5
          ? "It learned something."
          : "It learned next to nothing: one in ten is what guessing gives.";
    find("train-text").textContent = finite
      ? `${name}: ${percent(accuracy)} of unseen digits right after ${STEPS} steps. ${how}`
      : `${name}: the loss is no longer a number; the steps were too large for this start.`;
    runs.unshift([name, finite ? percent(accuracy) : "diverged", `${seconds.toFixed(1)} s`]);
    runs.length = Math.min(runs.length, LONGEST);
    find("runs").replaceChildren(table("Runs of this visit", ["network", "unseen digits right", "time"], runs));
    document.documentElement.dataset.trained = JSON.stringify({ accuracy, finite, seconds });
  }

  find("train").addEventListener("click", () => (worker ? stop() : start()));
  window.addEventListener("resize", () => last && drawLosses(find("losses"), last));
}
