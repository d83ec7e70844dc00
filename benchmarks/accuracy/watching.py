"""Findings of `fanin.watch` on healthy and broken training runs: ``python -m benchmarks.accuracy.watching [part]``.

The runs of `watched_runs.development_*` set the thresholds of the rules on steps. Those of `held_*` were written before
any of them was watched; those of `second_*` when the first held set had been read and rules mended; those of `third_*`
when the second had been, those of `fourth_*` when the third had been, those of `fifth_*` when the fourth had been,
those of `sixth_*` when the fifth had been, and so on. A broken run counts as caught where its report
names anything above a note after 20 steps at the peak rate; a healthy one counts as false where it does so then or
after 120 steps. Each is watched twice: as `fanin.watch(model, optimizer)`, and with the loss of the first batch as a
function of the output. Runs in portions add up in the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

import fanin
from benchmarks.accuracy.watched_runs import (
    development_broken,
    development_healthy,
    eighth_broken,
    eighth_healthy,
    fifth_broken,
    fifth_healthy,
    fourth_broken,
    fourth_healthy,
    held_broken,
    held_healthy,
    second_broken,
    second_healthy,
    seventh_broken,
    seventh_healthy,
    sixth_broken,
    sixth_healthy,
    third_broken,
    third_healthy,
)
from benchmarks.accuracy.watched_runs.loop import Training
from benchmarks.common import RESULTS, header, in_words

Makers = Mapping[str, Callable[[], Training]]
HALVES: Mapping[str, tuple[Makers, Makers]] = {
    "development": (development_healthy.RUNS, development_broken.RUNS),
    "held": (held_healthy.RUNS, held_broken.RUNS),
    "second": (second_healthy.RUNS, second_broken.RUNS),
    "third": (third_healthy.RUNS, third_broken.RUNS),
    "fourth": (fourth_healthy.RUNS, fourth_broken.RUNS),
    "fifth": (fifth_healthy.RUNS, fifth_broken.RUNS),
    "sixth": (sixth_healthy.RUNS, sixth_broken.RUNS),
    "seventh": (seventh_healthy.RUNS, seventh_broken.RUNS),
    "eighth": (eighth_healthy.RUNS, eighth_broken.RUNS),
}
EARLY, LAST = 20, 120
DATA = RESULTS / "watching.json"
# What each held set gave when it was watched for the first time, and what was mended after it was read.
FIRST = """First look at each held set, before anything was mended because of it (false and caught):

| half | alone | with the loss |
| --- | --- | --- |
| held | 3 of 34, 32 of 37 | 4 of 34, 34 of 37 |
| second | 3 of 22, 28 of 30 | 3 of 22, 29 of 30 |
| third | 0 of 27, 33 of 34 | 0 of 27, 34 of 34 |
| fourth | 2 of 31, 22 of 29 | 2 of 31, 22 of 29 |
| fifth | 2 of 37, 38 of 44 | 2 of 37, 39 of 44 |
| sixth | 2 of 28, 29 of 34 | 4 of 28, 31 of 34 |
| seventh | 1 of 23, 28 of 30 | 1 of 23, 28 of 30 |
| eighth | 1 of 26, 30 of 33 | 1 of 26, 30 of 33 |

False on the held set: a GPT of std 0.02 at 3e-3 (W901), a tuned transformer (T701), low-rank pairs on other digits
(L801, with the loss only), experts that the batch passes by (A301, G401). Mended by kind: a start below a quarter of
1 / sqrt(fan_in) counts as this quarter; what is said of a start is a note where weights were trained before; an expert
is judged by the samples it reads. False on the second set: a head alone at a high rate and a GRU that learns fast
(W901), low-rank pairs in a tuned transformer (T701). Mended: W901 is a note where the loss has halved; frozen weights
count by their size. Nothing was mended after the third set. False on the fourth set: L-BFGS that has solved its problem
(W901), Adafactor, whose rate is relative to the weights (O901). Mended: W901 is a note where the loss is below a tenth;
O901 tries the first step of the optimizer on a copy, weight decay included. Missed there and mended: optimizers that
hold nothing but frozen weights (twice), models that train vectors alone, a decay that takes most of a weight in a step.
One broken run of the fourth set ended in an exception of its own at the first look and has a lower rate now.

Before the fifth set was watched, seven rules came (L803, D105, W910 to W914), the loss was read from its gradient, and
W903 compared gradients; limits were set on the sets before. False on the fifth set: a bag of codes under Adagrad (O901,
W901), a density that was read as a binary loss (L801). Missed alone: targets of other samples in a ResNet and inputs
stirred for a GRU (both W903 after 120 steps), text stirred for a GPT (the frequencies of characters are learned all the
same), a softmax before cross-entropy at outputs close to zero, weights put back every fifth step, an error of every
pair. Mended by kind: half of Adagrad's first step counts, W901 is a note from 0.7 of the first loss on, gradients that
are all the same are of no known loss, the better fit of two losses is taken, W903 compares all pairs of gradients, W909
knows the start again, L804.

False on the sixth set: adapters behind frozen layers (P510), weights drawn in every pass around equal spreads (P501);
with the loss also one linear layer at 0.5 (O901) and cosines with a margin (L801). Missed alone: targets by chance
(mended), targets one batch ahead for text (frequencies are learned), a sparse code whose loss is its output and is
maximised (a model may return a likelihood), a sigmoid twice and nll_loss of shares, both outside the model (mended).
Mended by kind: adapters behind a map count, what is said of a start is a note once the loss has fallen to 0.6 within
the first steps, W903 looks at the last five measured steps, two more forms of losses are read. The seventh set was
watched with these, but for the two forms and two later mends (W912: an optimizer that does not step in every step;
W903: gradients that turn round). False on the seventh set: bumps around points (S205). Missed: no gradient but a
penalty, a cosine of six steps that rises again.

False on the eighth set: an order of patients whose loss has no known form (W903 after 120 steps, alone), a network of
six maps as PyTorch draws them, around a mean over points (S203, with the loss). Missed: inputs shuffled after targets
(W903 after 120 steps, not by step 20), quantiles and a divergence that are maximised. Mended by kind: the loss of a
constant prediction is not guessed where it would speak against a run, a loss below zero is none of trained weights, and
one that falls below zero faster and faster is named (L803, after some fifty steps).

Then 453 of 560 runs were watched again with the rules of today: the sets of development, held, fourth, sixth, seventh
and eighth whole, 49 of 52 of the second, 38 of 61 of the third, none of the fifth, whose rows are those of the first
look. Read and mended then: a loop that turns the sign of a right function (held, with the loss), and a healthy run of
the fourth set whose targets nobody could learn (another letter in each batch, as W903 said): it has one letter now."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was found in one run.

    Attributes:
        half: a key of `HALVES`.
        name: of the run.
        broken: whether a fault was built in.
        early: codes and severities after 20 steps at the peak rate, by whether the loss was given.
        late: the same after the last watched step.
        losses: mean of the first, the 16th to 20th and the last ten.
    """

    half: str
    name: str
    broken: bool
    early: tuple[str, str]
    late: tuple[str, str]
    losses: tuple[float, float, float]


def watched(make: Callable[[], Training], *, loss: bool, seed: int) -> tuple[str, str, list[float]]:
    """(findings after 20 steps at the peak rate, findings at the end, all losses)."""
    torch.manual_seed(seed)
    run = make()
    losses: list[float] = []
    early = ""
    with fanin.watch(run.model, run.optimizers, loss=run.loss if loss else None) as seen:
        for n in range(LAST):
            value = run.body(n)
            losses.append(float(value))
            seen.step(loss=value)
            if n + 1 == run.warmup + EARLY:
                early = found(seen.report)
    return early, found(seen.report), losses


def found(report: Any) -> str:
    """What is above a note, the causes first."""
    return " ".join(f"{f.code} {f.severity}" for f in (*report.findings, *report.consequences) if f.severity != "note")


def outcome(half: str, name: str, make: Callable[[], Training], *, broken: bool, seed: int) -> Outcome:
    """Both ways of watching one run."""
    bare = watched(make, loss=False, seed=seed)
    given = watched(make, loss=True, seed=seed) if make().loss is not None else bare
    losses = bare[2]
    parts = (losses[:1], losses[15:20], losses[-10:])
    return Outcome(
        half=half,
        name=name,
        broken=broken,
        early=(bare[0], given[0]),
        late=(bare[1], given[1]),
        losses=tuple(statistics.fmean(p) for p in parts),
    )


def outcomes(part: str, seed: int) -> list[Outcome]:
    """All runs with this in their half or name."""
    done = []
    for half, runs in HALVES.items():
        for broken, makers in enumerate(runs):
            for name, make in makers.items():
                if part in f"{half} {name}":
                    done.append(outcome(half, name, make, broken=bool(broken), seed=seed))
                    print(done[-1], flush=True)
    return done


def kept(new: list[Outcome]) -> list[Outcome]:
    """All runs that were ever trained and are still there, these with what they gave now; stored for the next time."""
    old = [_outcome(o) for o in json.loads(DATA.read_text(encoding="utf-8"))] if DATA.exists() else []
    known = {(o.half, o.name): o for o in (*old, *new)}
    names = [(half, name) for half, runs in HALVES.items() for makers in runs for name in makers]
    done = [known[name] for name in names if name in known]
    DATA.write_text(json.dumps([asdict(o) for o in done], indent=0) + "\n", encoding="utf-8")
    return done


def _outcome(data: dict[str, Any]) -> Outcome:
    return Outcome(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


def right(one: Outcome, way: int) -> bool:
    """Caught by step 20 where broken; silent to the end where healthy."""
    return bool(one.early[way]) if one.broken else not (one.early[way] or one.late[way])


def summary(done: list[Outcome]) -> str:
    """Counts by half and way."""
    lines = ["| half | watched | false, of healthy runs | caught, of broken runs |", "| --- | --- | --- | --- |"]
    for half in HALVES:
        for way, words in enumerate(("model and optimizer alone", "with the loss of the first batch")):
            healthy = [o for o in done if o.half == half and not o.broken]
            broken = [o for o in done if o.half == half and o.broken]
            false, caught = sum(not right(o, way) for o in healthy), sum(right(o, way) for o in broken)
            lines.append(f"| {half} | {words} | {false} of {len(healthy)} | {caught} of {len(broken)} |")
    return "\n".join(lines)


def wrong(done: list[Outcome]) -> str:
    """The runs that were judged wrongly in either way."""
    rows = [
        f"- {o.half}, {'broken' if o.broken else 'healthy'}: {o.name} ({words}): "
        + (f"{o.early[way] or o.late[way]}" if not o.broken else f"nothing by step 20, then {o.late[way] or 'nothing'}")
        for o in done
        for way, words in enumerate(("alone", "with the loss"))
        if not right(o, way)
    ]
    return "\n".join(rows) or "None."


def table(done: list[Outcome]) -> str:
    """Every run."""
    lines = [
        "| half | kind | run | loss: step 1 | 16 to 20 | last ten | found, alone | found, with the loss |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for o in done:
        losses = " | ".join(f"{v:.3g}" for v in o.losses)
        seen = " | ".join(o.early if o.broken else o.late)
        lines.append(f"| {o.half} | {'broken' if o.broken else 'healthy'} | {o.name} | {losses} | {seen} |")
    return "\n".join(lines)


def main() -> None:
    """Train all runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="", help="runs with this in `half name`")
    parser.add_argument("--seed", type=int, default=0, help="of torch's generator before each run")
    arguments, made = parser.parse_args(), header()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = kept(outcomes(arguments.part, arguments.seed))
    text = f"{summary(done)}\n\nWrong:\n\n{wrong(done)}\n\n{table(done)}\n"
    print(text)
    head = f"# Watching the first steps\n\n{in_words(made)}\n\nCPU, one thread, {LAST} steps a run.\n\n{FIRST}\n\n"
    DATA.with_suffix(".md").write_text(head + text, encoding="utf-8")


if __name__ == "__main__":
    main()
