"""Folklore, checked: one page a belief, with the experiment of the lab that decides it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fanin.lab.experiments import EXPERIMENTS
from tools.site.markdown import table
from tools.site.places import DOCS

__all__ = ["BELIEFS", "Belief", "pages", "titles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Something that people say, and what the experiment says.

    Attributes:
        short: two or three words for the navigation.
        said: the belief, as it is said.
        verdict: one word or two.
        because: one sentence.
        instead: what to do, with links.
    """

    short: str
    said: str
    verdict: str
    because: str
    instead: str


# experiment -> the belief that it decides
BELIEFS: Mapping[str, Belief] = {
    "symmetry": Belief(
        short="Zeros",
        said="Zeros are as good a start as any: training will sort the units out.",
        verdict="False",
        because="Units that start equal get equal gradients, so a layer of 64 stays one unit.",
        instead="Random weights, zero biases. The output layer may be zero. `fanin.check` finds equal units as "
        "[P501](../rules/P501.md).",
    ),
    "too-small": Belief(
        short="Small numbers",
        said="Small random numbers, N(0, 0.01²), are always a safe choice.",
        verdict="False for deep networks",
        because="Each layer multiplies the signal by the same small factor, and ten of them leave nothing.",
        instead="A std that depends on the fans: [he_normal](../initializers/he_normal.md) behind ReLU.",
    ),
    "three-scales": Belief(
        short="A factor of a few",
        said="A factor of a few in the scale does not matter.",
        verdict="False for deep networks",
        because="A factor on each layer is raised to the power of the depth.",
        instead="[Is my init right?](../tutorials/is-my-init-right.md)",
    ),
    "one-third": Belief(
        short="torch's default",
        said="U(±1/√n), torch's default, keeps the size of the signal.",
        verdict="False",
        because="The variance of a uniform law is a third of its squared bound; a layer keeps a third of the power.",
        instead="[lecun_uniform](../initializers/lecun_uniform.md) has the variance that people expect of it.",
    ),
    "he-depth": Belief(
        short="Xavier everywhere",
        said="Xavier's law suits every network.",
        verdict="False for ReLU",
        because="A ReLU halves the second moment and Glorot's law does not give it back; with 22 layers it stalls.",
        instead="[he_normal](../initializers/he_normal.md), and from ten layers on "
        "[mirrored_orthogonal](../initializers/mirrored_orthogonal.md): "
        "[a plain 50-layer net](../tutorials/fifty-layers.md).",
    ),
    "isometry": Belief(
        short="Variance is enough",
        said="It is enough that the variance is kept.",
        verdict="False for very deep networks",
        because="A Gaussian stack keeps the mean square of the singular values and loses nearly all directions.",
        instead="[orthogonal](../initializers/orthogonal.md) maps, skips or norms.",
    ),
    "saturation": Belief(
        short="Logistic units",
        said="Logistic units cannot be trained in deep networks.",
        verdict="False at the right scale",
        because="They lose a factor of four in each layer under Glorot's law, which a fourfold std gives back.",
        instead="[glorot_logistic](../initializers/glorot_logistic.md), or what `fanin.plan` chooses.",
    ),
    "input-scale": Belief(
        short="Input scale",
        said="The scale of the inputs does not matter, since the first layer adapts.",
        verdict="False",
        because="Raw pixels force a learning rate that is orders of magnitude smaller on all layers.",
        instead="Standardise the inputs; `fanin.check` warns as [D101](../rules/D101.md) and [D102](../rules/D102.md).",
    ),
    "batchnorm": Belief(
        short="Batch norm forgives all",
        said="With batch norm the initialization does not matter.",
        verdict="Half true",
        because="The output no longer depends on the scale of the weights, but the effective learning rate does.",
        instead="A good start also with norms; see [what `auto` does](../recipes/auto.md).",
    ),
    "magic-number": Belief(
        short="One good std",
        said="There is one good std (0.01, 0.02, 0.05) for all networks.",
        verdict="False",
        because="No std fits all; in units of what theory asks for, the basins lie over each other.",
        instead="[variance_scaling](../initializers/variance_scaling.md) with `fanin.gain` of the activation.",
    ),
    "distance": Belief(
        short="The start is forgotten",
        said="Weights travel far from where they start, so the start is soon forgotten.",
        verdict="False at the right scale",
        because="At He's scale the weights end within a tenth of their norm of where they began.",
        instead="The start is most of the network that you will have: choose it.",
    ),
    "pretraining": Belief(
        short="Pre-training",
        said="Deep networks need pre-training without labels.",
        verdict="False at equal cost",
        because="What it gave was a scale at which deep logistic networks learn at all; a good random start has that.",
        instead="Spend the updates on the labels.",
    ),
    "transfer": Belief(
        short="Rates over widths",
        said="A learning rate that is good for a small model is good for a wide one.",
        verdict="False, but it can be made true",
        because="The best rate falls with the width unless each group has its share of it.",
        instead="`fanin.param_groups`: [learning rates that transfer](../guide/learning-rates.md).",
    ),
    "depth-transfer": Belief(
        short="Rates over depths",
        said="A learning rate that is good for a shallow model is good for a deep one.",
        verdict="False, but it can be made true",
        because="All branches move the residual stream the same way, so more of them move it further.",
        instead="`depth_base=` of [`fanin.param_groups`](../guide/learning-rates.md).",
    ),
    "calibrate": Belief(
        short="Rescale on data",
        said="Rescaling every layer on a batch of data improves any start.",
        verdict="Half true",
        because="It brings a dead default to life and changes nothing in a start that was planned.",
        instead="[Calibrate](../guide/calibrate.md) what you must keep; plan what you may choose.",
    ),
    "first-steps": Belief(
        short="The loss tells",
        said="Whether a run is going wrong shows in the loss.",
        verdict="Not in time",
        because="In the first steps a broken run and a slow one differ in their distance from init, not in loss.",
        instead="`fanin.watch`: [the first 100 steps](../guide/watch.md).",
    ),
}

_HEAD = """# Folklore, checked

What people say about how networks start, and what the experiment says. Each page has the experiment, its figure and the
command that repeats it on your machine; the tests hold each to what it claims.

"""


def pages() -> Mapping[str, str]:
    """Path on the site -> Markdown."""
    rows = [(f"[{BELIEFS[name].said}]({name}.md)", f"**{BELIEFS[name].verdict}**") for name in BELIEFS]
    index = _HEAD + table(("what people say", "what the experiment says"), rows)
    return {"folklore/index.md": index, **{f"folklore/{name}.md": _page(name) for name in BELIEFS}}


def titles() -> Mapping[str, str]:
    """Short title -> page, of every belief."""
    return {belief.short: f"folklore/{name}.md" for name, belief in BELIEFS.items()}


def _page(name: str) -> str:
    belief = BELIEFS[name]
    data = json.loads((DOCS / "lab" / f"{name}.json").read_text(encoding="utf-8"))
    return (
        f"# “{belief.said}”\n\n**{belief.verdict}.** {belief.because}\n\n"
        f"![{EXPERIMENTS[name][1]}](../lab/{name}.png)\n\n"
        f"## The experiment: {data['title']}\n\n{data['text']}\n\n"
        f"```console\n$ fanin lab {name} --out figures\n```\n\n[Numbers](../lab/{name}.json)\n\n"
        f"## What to do instead\n\n{belief.instead}\n"
    )
