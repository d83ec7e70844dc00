"""From the named numbers of a rule to the steps and sentences of a plan.

A rule of ``auto`` returns numbers with names; every word that is said about them is in the two tables of this file.
A formula or a reason is a template: ``{name}`` is filled with the rule's number or word of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from fanin.initializers import Initializer, Normal, Zeros
from fanin.recipes.auto.inputs import input_scale
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.step import Step
from fanin.text.numbers import big

__all__ = ["LINES", "REASONS", "Number", "Values", "draft", "reason", "steps", "zero"]

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a derivation.

    Attributes:
        name: what it is; with `how` the key of its line in `LINES`.
        value: the number (or a word, where the step is a choice).
        how: which of several formulas gave it; "" where there is only one.
    """

    name: str
    value: Any
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How one number is written.

    Attributes:
        quantity: what it is.
        formula: template of the formula in symbols.
        source: where the formula is from.
        worked: template of the formula with its numbers, written out where all of them are known. Beside the rule's
            numbers it may name fan_in, fan_out, used (the E x² that counts), scale_of_input (what an input divides
            the variance by) and last (the last variance).
    """

    quantity: str
    formula: str
    source: str = ""
    worked: str = ""


def draft(
    rule: str,
    numbers: Callable[[Read], tuple[Number, ...]],
    law: Callable[[Values], Initializer] = lambda values: Normal(std=values["std"]),
    *,
    reasons: tuple[str, ...] = (),
    evidence: str = "",
    var: Callable[[Read, Values], float] | None = None,
    like: str = "",
    stream: int | None = None,
    **words: Any,
) -> Draft:
    """A rule's named numbers as a draft.

    Args:
        rule: short name of the rule.
        numbers: the derivation, from what is read to the last number.
        law: the initializer with these numbers; by default N(0, std²).
        reasons: keys of `REASONS`, joined into one sentence; by default the rule's own.
        evidence: code in `fanin.recipes.auto.evidence`.
        var: variance that predicts what follows, where it is not the law's own (see `Made`).
        like: see `Draft`.
        stream: see `Draft`.
        words: further words that the templates name.
    """

    def make(read: Read) -> Made:
        found = numbers(read)
        values = {n.name: n.value for n in found}
        steady = None if var is None else var(read, values)
        return Made(law=law(values), steps=steps(found, **_of_read(read), **words), var=steady)

    said = reason(*(reasons or (rule,)), **words)
    return Draft(rule=rule, reason=said, make=make, evidence=evidence, like=like, stream=stream)


def steps(numbers: tuple[Number, ...], **words: Any) -> tuple[Step, ...]:
    r"""The lines of a derivation.

    Example:
        >>> print(*steps((Number("branches", 4), Number("std", 0.5, "sqrt(var)"))), sep="\n")
        branches = 4   branches that are added to this residual stream
        std = 0.5   sqrt(var)
    """
    values = {n.name: n.value for n in numbers}
    named = {**words, **values}
    known = {name: _figures(value) for name, value in {**named, **_counted(values)}.items() if value is not None}
    return tuple(_step(n, named, known) for n in numbers)


def _of_read(read: Read) -> dict[str, Any]:
    """What every template may name."""
    return {"read": read.words(), "fan_in": read.fan_in, "fan_out": read.fan_out}


def _counted(values: Values) -> dict[str, Any]:
    """Numbers that follow from a rule's: the E x² that counts, what it divides by, the last variance."""
    second = values.get("taken", values.get("second"))
    variances = [values[name] for name in ("var", "backward", "balanced") if name in values]
    return {
        "used": second,
        "scale_of_input": None if second is None else input_scale(second),
        "last": variances[-1] if variances else None,
    }


def _figures(value: Any) -> Any:
    return big(float(value), 6) if isinstance(value, int | float) else value


def _step(number: Number, named: Values, known: Values) -> Step:
    line = LINES[number.name, number.how]
    fields = {field for _, field, _, _ in Formatter().parse(line.worked) if field}
    worked = line.worked.format(**known) if fields <= set(known) else ""
    return Step(
        quantity=line.quantity,
        value=number.value,
        formula=line.formula.format(**named),
        source=line.source,
        worked=worked,
    )


def reason(*keys: str, **words: Any) -> str:
    """The sentence made of these reasons.

    Example:
        >>> reason("forward", "norm follows", reads="norm")
        'reads norm; std chosen so that the outputs have rms 1; a norm follows before the sum, so no depth factor'
    """
    return "; ".join(REASONS[key].format(**words) for key in keys)


def zero(rule: str) -> Draft:
    """A map that is zero because an option asks for it."""
    return draft(rule, lambda read: (), lambda values: Zeros())


# ---------------------------------------------------------------------- the sources
_HE = "He et al. 2015, arXiv 1502.01852, eq. 7-10, with E x² in place of its value for ReLU"
_GLOROT = "Glorot and Bengio 2010, eq. 12"
_GPT2 = "Radford et al. 2019 (GPT-2), section 2.3, made relative to the stream"
_LORA = "Hu et al. 2021, arXiv 2106.09685, section 4.1"
_BALDUZZI = "Balduzzi et al. 2017, arXiv 1702.08591, section 4"
_PENNINGTON = "Pennington et al. 2017, arXiv 1711.04735, eq. 22; Schoenholz et al. 2017, arXiv 1611.01232, eq. 5"
_SAXE = "Saxe et al. 2013, arXiv 1312.6120, section 3"
_SCHOENHOLZ = "Schoenholz et al. 2017, arXiv 1611.01232, eq. 5"
_CHANG = "Chang et al. 2020 (principled weight initialization for hypernetworks), section 4"
_KAN = "Liu et al. 2024 (KAN), arXiv 2404.19756, section 2.2"
_LIU = "Liu et al. 2021 (gMLP), arXiv 2105.08050, section 2.1"
_SITZMANN = "Sitzmann et al. 2020, arXiv 2006.09661, section 3.2"

# ---------------------------------------------------------------------- the lines of a derivation
LINES: Mapping[tuple[str, str], Line] = {
    # what is read
    ("second", ""): Line(quantity="E x²", formula="{read}"),
    ("moment", ""): Line(quantity="E x²", formula="measured on the given input; divides var by {divisor:.4g}"),
    ("taken", "batch norm"): Line(
        quantity="E x² taken",
        formula="for an input of rms 1: the batch norm after this map removes its scale, and maps of equal std learn "
        "equally fast",
    ),
    ("taken", "shared factor"): Line(
        quantity="E x² taken",
        formula="for an input of rms 1: the input here is smaller only by the depth factor of this branch, which must "
        "stay",
    ),
    ("taken", "head"): Line(
        quantity="E x² taken", formula="at least {least:g}: the output layer is not scaled up for a weaker input"
    ),
    ("taken", "means"): Line(
        quantity="E x² taken",
        formula="at least {faint:g}: means over places are small at step 0, and a gate of them starts near its middle",
    ),
    ("spread", ""): Line(quantity="Var x", formula="what remains of E x² when the rows sum to zero"),
    ("share", ""): Line(quantity="taps on data", formula="share of kernel taps that do not fall on zero padding"),
    ("padding", ""): Line(quantity="padding", formula="1 / sqrt(share of q that zero padding leaves here)"),
    # variances
    ("var", "plain"): Line(
        quantity="var", formula="1 / (fan_in E x²): outputs of rms 1", source=_HE, worked="1 / ({fan_in} × {used})"
    ),
    ("var", "taps"): Line(
        quantity="var",
        formula="1 / (fan_in × taps E x²): outputs of rms 1",
        source=_HE,
        worked="1 / ({fan_in} × {share} × {used})",
    ),
    ("var", "input"): Line(
        quantity="var",
        formula="1 / fan_in, divided by E x² only where it is large: outputs of rms 1",
        source=_HE,
        worked="1 / ({fan_in} × {scale_of_input})",
    ),
    ("var", "input, taps"): Line(
        quantity="var",
        formula="1 / (fan_in × taps), divided by E x² only where it is large: outputs of rms 1",
        source=_HE,
        worked="1 / ({fan_in} × {share} × {scale_of_input})",
    ),
    ("backward", ""): Line(
        quantity="var backward", formula="1 / (fan_out E f'²), E f'² = {slope:.4g}", worked="1 / ({fan_out} × {slope})"
    ),
    ("balanced", ""): Line(
        quantity="var balanced",
        formula="harmonic mean of both",
        source=_GLOROT,
        worked="2 / (1 / {var} + 1 / {backward})",
    ),
    # depth
    ("factor", ""): Line(
        quantity="factor", formula="{branches} branches without norm: the maps of a branch share 1/{branches}"
    ),
    ("factor", "branch chi"): Line(
        quantity="factor",
        formula="of the branch, times sqrt(q): pre-activations of variance {q:.3g}, where chi_1^sqrt(branches) = 2",
        source=_SCHOENHOLZ,
    ),
    ("factor", "chi"): Line(
        quantity="factor",
        formula="sqrt(q), q = {q:.3g}: pre-activations of that variance, where chi_1 to the power of {layers} "
        "layers is at most 2",
        source=_SCHOENHOLZ,
        worked="sqrt({q})",
    ),
    ("factor", "beside"): Line(
        quantity="factor", formula="{share:g}: the map beside it leads", source=_KAN, worked="{share}"
    ),
    ("factor", "size"): Line(
        quantity="factor",
        formula="sqrt(q), q = {q:.3g}: pre-activations of that variance, where sizes keep their ratio over {layers} "
        "layers up to a power of 1.2",
        worked="sqrt({q})",
    ),
    ("factor", "summed"): Line(quantity="factor", formula="positions that are summed: as if it read their mean"),
    ("factor", "exponent"): Line(
        quantity="factor", formula="1 / {count}: outputs of rms 1 / {count}", worked="1 / {count}"
    ),
    ("exponent", "exponent part"): Line(
        quantity="std before the exponential",
        formula="std / {count}: it multiplies by about 1",
        worked="{std} / {count}",
    ),
    ("factor", "open"): Line(
        quantity="factor",
        formula="{share:g} / {count} products: the factor stays near its bias, one",
        source=_LIU,
        worked="{share} / {count}",
    ),
    ("open", "open part"): Line(
        quantity="std of the factor",
        formula="std × {share:g} / {count} products: the factor stays near its bias, one",
        source=_LIU,
        worked="{std} × {share} / {count}",
    ),
    ("factor", "made"): Line(
        quantity="factor",
        formula="1 / sqrt({terms:g} E x²): the std of a weight that sums {terms:g} terms of what it is applied to",
        source=_CHANG,
        worked="1 / sqrt({terms} × {second})",
    ),
    ("factor", "distances"): Line(
        quantity="factor",
        formula="the std of signal and centres at which the distances of one sample have the std of outputs",
    ),
    ("factor", "outputs"): Line(
        quantity="factor",
        formula="the std of what the map makes at which the outputs of one sample have the std of outputs",
    ),
    ("factor", "made through"): Line(
        quantity="factor",
        formula="at which the weight that is made of it has std {wanted:.4g} = 1 / sqrt({terms:g} E x²)",
        source=_CHANG,
    ),
    ("branches", ""): Line(quantity="branches", formula="branches that are added to this residual stream"),
    ("stream", "post-norm"): Line(quantity="stream rms", formula="1 after a norm"),
    ("stream", "predicted"): Line(quantity="stream rms", formula="predicted where the stream starts"),
    ("scale", ""): Line(
        quantity="scale",
        formula="stream rms / sqrt(branches): the rms of what the branch adds",
        worked="{stream} / sqrt({branches})",
    ),
    ("value", ""): Line(
        quantity="value", formula="scale - {offset:g}: the model adds {offset:g}", worked="{scale} - {offset}"
    ),
    # outputs and gains
    ("size", "unit"): Line(quantity="output rms", formula="unit logits"),
    ("size", "calm"): Line(quantity="output rms", formula="calm: min({calm:g}, 1 / sqrt(fan_in))"),
    ("size", "outputs"): Line(quantity="rms", formula="of what the map makes"),
    ("size", "centred"): Line(quantity="rms", formula="of the output"),
    ("bend", ""): Line(
        quantity="rms z",
        formula="(f(inf) - f(-inf)) / (2 f'(0)): input at which {activation} saturates (1 for tanh, 2 for the logistic "
        "function)",
    ),
    ("pair", ""): Line(
        quantity="f(x) - f(-x)", formula="f = {activation}: a mirrored pair of units is linear", source=_BALDUZZI
    ),
    ("gain", "output"): Line(quantity="gain", formula="[A; -A]"),
    ("gain", "both"): Line(quantity="gain", formula="[[A, -A], [-A, A]]"),
    ("gain", "input"): Line(quantity="gain", formula="[A, -A]"),
    ("gain", "entry"): Line(
        quantity="gain",
        formula="std × sqrt(fan_in): the same std, with orthogonal rows",
        worked="{std} × sqrt({fan_in})",
    ),
    ("gain", "critical"): Line(quantity="gain", formula="1 / sqrt(E f'(z)²), z ~ N(0, q*): chi_1 = 1"),
    ("gain", "geometric mean"): Line(quantity="gain", formula="geometric mean of both", source=_SAXE),
    ("gain", "backward"): Line(quantity="gain", formula="the backward gain", source=_SAXE),
    ("forward gain", ""): Line(quantity="forward gain", formula="1 / sqrt(E f²)"),
    ("backward gain", ""): Line(quantity="backward gain", formula="1 / sqrt(E f'²)"),
    ("q", ""): Line(
        quantity="q*",
        formula="depth (E f'⁴ / (E f'²)² - 1) = {spread:g}, depth = {hidden}: the squared singular values have a std "
        "equal to their mean",
        source=_PENNINGTON,
    ),
    ("f2", ""): Line(quantity="E f²", formula="of z ~ N(0, q*): what the output layer reads"),
    ("var", "product"): Line(
        quantity="var of the product", formula="1 / (fan_in E x²), fan_in = {terms:g} of the operation that uses it"
    ),
    ("std", "factors"): Line(
        quantity="std",
        formula="(var / paths)^(1 / (2 factors)), {paths} paths summed into an entry, {factors} factors",
    ),
    ("gain", "factor"): Line(quantity="gain", formula="std × sqrt(columns): the same std, with orthogonal rows"),
    ("weights", ""): Line(
        quantity="weights",
        formula="one after the other; each has std 1 / sqrt(fan_in E x²), with E x² of unit pre-activations",
        source=_HE,
    ),
    # tables
    ("unit", ""): Line(quantity="logit std 1 at", formula="1 / sqrt(d E x²)"),
    ("own", ""): Line(
        quantity="own-token limit",
        formula="sqrt(2) ln V / (d rms(x)): the row of the token that was read gives itself a logit of about "
        "d rms(x) std / sqrt(2), which must stay below ln V",
    ),
    # sines
    ("bound", ""): Line(quantity="bound", formula="sin({omega:g} x) sets the frequencies", source=_SITZMANN),
    ("omega", ""): Line(quantity="omega", formula="the factor inside the sine"),
    # the std
    ("std", "sqrt(var)"): Line(quantity="std", formula="sqrt(var)", worked="sqrt({last})"),
    ("std", "factor"): Line(quantity="std", formula="sqrt(var) × factor", worked="sqrt({last}) × {factor}"),
    ("std", "head"): Line(
        quantity="std", formula="output rms / sqrt(fan_in E x² taken)", worked="{size} / sqrt({fan_in} × {taken})"
    ),
    ("std", "residual"): Line(
        quantity="std",
        formula="stream rms / (sqrt(fan_in max(1, E x²)) sqrt(branches)): an E x² below 1 counts as 1: scaling up for "
        "a weak input did not help in our runs",
        source=_GPT2,
        worked="{stream} / (sqrt({fan_in} × max(1, {second})) × sqrt({branches}))",
    ),
    ("std", "looped"): Line(
        quantity="std",
        formula="stream rms / (sqrt(fan_in max(1, E x²)) branches): an E x² below 1 counts as 1: scaling up for a weak "
        "input did not help in our runs",
        source=_GPT2,
        worked="{stream} / (sqrt({fan_in} × max(1, {second})) × {branches})",
    ),
    ("std", "mixing"): Line(quantity="std", formula="stream rms / (sqrt(fan_in E x²) branches)"),
    ("std", "sizeless"): Line(
        quantity="std", formula="1 / sqrt(fan_in), its own size has no effect", worked="1 / sqrt({fan_in})"
    ),
    ("std", "scale free"): Line(
        quantity="std",
        formula="rms of the values found: a norm divides the outputs by their size, which sets only how far a step "
        "turns the map",
    ),
    ("std", "sizeless found"): Line(quantity="std", formula="rms of the values found, its own size has no effect"),
    ("as used", ""): Line(
        quantity="as used", formula="× std: what the model makes of it, or of its outputs, has the size above"
    ),
    ("std", "adapter"): Line(quantity="std", formula="zero", source=_LORA),
    ("std", "position"): Line(quantity="std", formula="sqrt(E x²)", worked="sqrt({second})"),
    ("mean", ""): Line(quantity="mean", formula="that of the signal"),
    ("std", "spread"): Line(quantity="std", formula="sqrt(E x² - mean²)", worked="sqrt({second} - {mean}²)"),
    ("factor", "bumps"): Line(quantity="factor", formula="points before bumps lie further apart than the signal"),
    ("std", "bumps"): Line(quantity="std", formula="that of the signal × factor"),
    ("std", "distances"): Line(
        quantity="std", formula="at which the distances of one sample from all centres have the std of outputs"
    ),
    ("std", "rows"): Line(quantity="std", formula="rows of rms 1"),
    ("std", "rows found"): Line(quantity="std", formula="that of the rows that its module made"),
    ("std", "bag"): Line(
        quantity="std", formula="1 / sqrt({bag}), because {bag} rows are summed", worked="1 / sqrt({bag})"
    ),
    ("std", "tied"): Line(
        quantity="std", formula="min({part:g} / sqrt(d E x²), own-token limit)", worked="min({part} × {unit}, {own})"
    ),
    ("std", "siren"): Line(
        quantity="std",
        formula="1 / (omega sqrt(fan_in E x²)): omega times the weighted sum has std 1",
        source=_SITZMANN,
        worked="1 / ({omega} × sqrt({fan_in} × {second}))",
    ),
    ("std", "centred first"): Line(quantity="std", formula="rms z / sqrt(fan_in), divided by the rms of a large input"),
    ("std", "centred"): Line(
        quantity="std",
        formula="rms z / sqrt(fan_in Var x), rows sum to zero",
        worked="{bend} / sqrt({fan_in} × {spread})",
    ),
    ("std", "centred head"): Line(
        quantity="std",
        formula="rms / sqrt(fan_in Var x), rows sum to zero",
        worked="{size} / sqrt({fan_in} × {spread})",
    ),
    ("std", "critical first"): Line(quantity="std", formula="sqrt(q* / fan_in), divided by the rms of a large input"),
    ("std", "critical head"): Line(
        quantity="std",
        formula="{size:g} / sqrt(fan_in E f²): outputs of rms {size:g}",
        worked="{size} / sqrt({fan_in} × {f2})",
    ),
}

# ---------------------------------------------------------------------- the sentences
REASONS: Mapping[str, str] = {
    # maps
    "first layer": "first layer: outputs of rms 1; a large input is divided out, a small one is not scaled up",
    "forward": "reads {reads}; std chosen so that the outputs have rms 1",
    "stream entry": "only this map feeds the residual stream; an orthogonal matrix keeps its length exactly",
    "norm follows": "a norm follows before the sum, so no depth factor",
    "layer scale": "{scale} scales the branch already, so no depth factor",
    "sizeless": "the model divides it by its own size: drawn at random so that units differ, at the size found, which "
    "sets only how far a step of an optimizer turns it",
    "as used": "the model makes the weight that it uses of it, and that one has the std chosen here",
    "behind": "the model multiplies its outputs by {factor:.3g}, and with that they have the size chosen here",
    "one sign": "{function} makes the weight of it, which has one sign then: kept, because no law around zero has "
    "outputs around zero there",
    "bandwidth": "before {function} it reads no input of the network, only constants: kept, because its size is the "
    "bandwidth of the field that it starts",
    "phases": "the phases of the field that {map} starts: kept with it",
    "identity": "map that its module starts as the identity, which a signal passes as it is: kept",
    "adds nothing": "map that its module starts at zero, whose outputs are added to another signal: it adds nothing at "
    "step 0: kept",
    "signs": "its module starts it at random signs of one size: kept",
    "constant map": "map that its module starts at zero, so that its outputs start as its bias: kept",
    "before constant": "only maps that their module starts at zero read it, so no signal depends on it at step 0: kept",
    "constant bias": "what {map}, which its module starts at zero, gives at step 0: kept",
    "summed": "it reads a sum over {count:.0f} positions, most of which all samples share: as large as if it read "
    "their mean, because the output layer takes the size back and one step would turn off units of so small a map",
    "share": "the model uses it and 1 minus it, as the shares of a mixture: kept as its module set it",
    "looped": "applied to its own output {times} times; an orthogonal matrix keeps the state's length at every step",
    "adapter": "second factor of a low-rank adapter (LoRA), zero as its module sets it: at step 0 the output is that "
    "of the base layer",
    "residual sharp": "the function is sharp: pre-activations of variance {q:.3g} keep the branches from chaos",
    "sharp": "{activation} is sharp: at unit variance each layer multiplies small differences by chi_1 = {chi:.3g}; "
    "pre-activations of variance {q:.3g} keep all {layers} layers from chaos",
    "growing": "{activation} is a power where its input is large: at unit variance each layer takes ratios of size to "
    "the power {power:.3g}; pre-activations of variance {q:.3g} keep all {layers} layers from that",
    "beside a map": "combines {count} functions of each number that it reads, and is added to a plain map of the same "
    "signal: small, so that this map leads at first",
    "exponent": "its outputs go through an exponential that multiplies a signal; zero, so at step 0 it multiplies by 1",
    "exponent part": "some of its outputs go through an exponential that multiplies a signal: so small that it "
    "multiplies by about 1; the others have rms 1/{count}, at most 1 over the number of such maps",
    "small exponent": "some of its outputs go through an exponential that multiplies a signal: rms 1/{count}, at most "
    "1 over the number of such maps, so the product of all stays finite",
    "beside exponent": "shift beside such a scale: rms 1/{count}, so all shifts together add no more than the "
    "signal had",
    "open factor": "one of two maps of one input that are multiplied, in a network of {count} such products: small, so "
    "that with its bias this factor starts near 1 and the product keeps the size of the other factor",
    "open part": "some of its outputs are one factor of a product of two functions of one input, one of {count} such "
    "products: small, so that with its bias this factor starts near 1 and the product keeps the size of the other",
    "open factor bias": "1: this factor of a product starts at 1",
    "open part bias": "1 for the factor of a product that starts at 1, 0 for the other outputs of this map",
    "made weight": "its outputs are used as a weight that sums {terms:g} terms: they get the rms that such a weight "
    "needs, 1 / sqrt(terms E x²)",
    "made through": "sized for what the model does to them before",
    "ramp": "factor of what is summed, a ramp in every row as its module set it: kept",
    "even": "factor of what is summed, {number:g} everywhere as its module set it: kept",
    "designed head": "output layer that its module starts at {times:.2g} times the usual size by design: kept",
    "flat buffer": "flat parameter with weights one after the other ({weights} in all): each has the std of its own "
    "fan_in; what lies between them is zero",
    "orthogonal factor": "the Kronecker product of orthogonal matrices is orthogonal too",
    "factor": "one of {factors} factors whose product is the weight: equal stds that give the product outputs of rms 1",
    "modulation": "makes scales and shifts of a signal from a condition: zero, so the scale starts at 1 and the shift "
    "at 0",
    "modulation bias": "1 where it is a scale that multiplies a signal, 0 where it is a shift",
    "modulating table": "table of scales and shifts: the scale starts at 1, the shift at 0",
    "designed modulation": "makes scales and shifts of a signal, and its module starts it at zero by design: kept",
    "designed table": "table of scales near 1 and shifts near 0, as its module set them: kept",
    # heads
    "head": "output layer: std chosen so that the outputs have rms 1 for the input it receives",
    "calm head": "output layer, calm: outputs so small that the loss starts at ln C",
    "designed zero head": "output layer that its module starts at zero by design: kept, equal outputs at step 0",
    "zero head": "zero, as the option head asks: equal outputs, and an initial loss of exactly ln C",
    # residual branches
    "zero last map": "last map of its branch, zero as the option last_map asks: at step 0 the branch adds nothing",
    "residual": "last map of its branch: all {branches} branches together add as much as the stream had at its start",
    "residual looped": "last map of a branch that is applied {times} times: equal contributions add up, so "
    "1/{branches}",
    "residual no norm": "last map of a branch with attention or a gate and without norm: it adds 1/{branches} of the "
    "stream",
    "residual shared": "branch without norm, one of {branches}: its {maps} maps share a factor 1/{branches}",
    "residual single": "the only map of its branch, one of {branches} without norm: factor 1/sqrt({branches})",
    "residual odd": "the only map of its branch, one of {branches} without norm, before an odd bounded function: "
    "factor min(1, 6/sqrt({branches}))",
    "branch-end norm": "last norm of one of {branches} branches: scale = stream rms / sqrt({branches}), so all "
    "branches together add as much as the stream had",
    # stacks
    "mirrored": "plain stack of {hidden} {activation} layers: mirrored pairs of an orthogonal map, so the network "
    "starts as a deep linear map that keeps lengths, angles and gradients",
    "unit left over": "of its {units} units the last has no twin: it reads a random direction, and the weights that "
    "read it start at zero",
    "centred first": "feeds {activation}, which saturates at {width:.3g}: pre-activations of that rms",
    "centred": "reads {activation}: its outputs have a large mean that all samples share; rows of weights that sum to "
    "zero remove it",
    "critical": "{hidden} {activation} layers: orthogonal at the critical point q* = {q:.3g}",
    "critical first": "the first map gives pre-activations of variance q*",
    "critical head": "the output layer scales the small activations up to unit outputs",
    "orthogonal": "{hidden} {activation} layers, not mirrored: orthogonal maps",
    # tables, tokens, positions
    "embedding": "table with an output layer of its own: std 1, so its rows have rms 1",
    "bag": "table whose rows are summed, {bag} at a time on these inputs: std 1 / sqrt({bag}), so the sums have rms 1",
    "zero table": "table of zeros summed into the outputs: kept as its module started it, equal outputs at step 0",
    "tied embedding": "table that is also the output layer: small enough for an initial loss near ln V, never std 1",
    "position": "position table with the std of what it is added to",
    "laid out": "centres that its module lays out in steps, or alike for all units: kept, and the maps behind them "
    "differ",
    "shaped table": "made by {function} before it is added, so its own size is not what is added: kept",
    "offsets": "added to a signal of which no tokens meet each other: an offset that keeps the size its module chose",
    "found table": "table as large as its module made it: no tokens meet each other, and what reads it takes its size "
    "out",
    "picked": "added to the signal before the largest (or least) is taken: it decides which entry is read, so it keeps "
    "the size that its module chose",
    "centres": "centres that the signal is compared with: of its mean and size",
    "bumps": "centres of bumps: around the mean of the signal, with {spread:g} times its std, so that the bumps differ "
    "from sample to sample",
    "distances": "centres from which the outputs are distances: of the size at which these have the std of outputs",
    "before distances": "the outputs of the network are distances of its own from {centres}, which grow with their "
    "dimension: as large as gives distances with the std of outputs",
    "before outputs": "the outputs of the network are a function of what this map makes: no larger than gives them the "
    "size of outputs, and not far into the bounds of that function",
    "position beside": "position table with the std of the tokens it is added to ({table})",
    "attention bias": "added to attention scores: zero, so at step 0 no distance is preferred",
    "no map": "numbers of which the model makes others (angles, a first state) and that no map reads: kept as their "
    "module chose them",
    "code": "learned code that maps turn into weights: std 1, so the maps read an input of rms 1",
    "query": "learned queries or latents that a residual stream starts from: std 1, so the stream starts at rms 1",
    "token": "learned token: N(0, {std:g}²); most of its size comes from the position added to it",
    # sines
    "siren first": "first layer on coordinates: U(±1 / fan_in), so that omega alone sets the frequencies",
    "siren": "hidden layer of sines: omega times its weighted sum has std 1",
    "siren last": "last layer of a network of sines: small outputs, of rms 1 / omega",
    # recurrent cells
    "recurrent input": "input map of a recurrent cell: Glorot's law for each gate by itself",
    "recurrent": "map from state to state: orthogonal for each gate, which keeps the state's length at every step",
    "recurrent apart": "map from state to state that holds no gates side by side: one orthogonal matrix for all, "
    "with the std that one for each gate has",
    "recurrent joined": "the columns that read the input: Glorot's law for each gate by itself",
    "recurrent bias": "zero: the cell's other bias sets where the gates start",
    "chrono": "chrono: gate biases for units that remember up to {memory:g} steps",
    "forget bias": "forget-gate bias 1: the cell keeps its state until it learns to forget",
    "forget bias added": "zero: the model adds to its forget gates itself",
    "forget gate apart": "zero: it has several axes, and no law places a 1 on the forget gates alone",
    "gates unknown": "zero: which of its units belong to which gate could not be followed",
    "no forget gate": "zero",
}
