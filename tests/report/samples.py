"""Results made by hand, without a model: smooth formulas of the layer, so that every drawing has something to draw."""

from __future__ import annotations

import dataclasses
import itertools
import math

from fanin.layout import Layout
from fanin.measure.record import (
    Activity,
    AttentionRecord,
    Cosine,
    Histogram,
    InputRecord,
    JacobianRecord,
    LossRecord,
    Measurements,
    ParameterRecord,
    Prediction,
    Site,
    TensorStats,
)
from fanin.measure.steps import StepRecord, Watched
from fanin.rules.finding import Finding, Fix, NotRun
from fanin.rules.result import CheckResult, Header

HOSTILE = "<script>alert(1)</script>.[red]x[/red].\x1b[31m\n\u202e" + "long_" * 40


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _exponents(rms: float) -> Histogram:
    low = math.floor(math.log2(rms)) - 11 if rms > 0 else -20
    edges = [2.0 ** (low + i) / rms if rms > 0 else 0.0 for i in range(16)]
    counts = tuple(round(4096 * 2 * (_normal_cdf(b) - _normal_cdf(a))) for a, b in itertools.pairwise(edges))
    return Histogram(scale="log2", low=low, width=1, counts=counts, under=0 if rms > 0 else 4096)


def _values(skew: float = 0.0) -> Histogram:
    edges = [-4 + 0.25 * i for i in range(33)]
    counts = [_normal_cdf(b + skew) - _normal_cdf(a + skew) for a, b in itertools.pairwise(edges)]
    return Histogram(scale="linear", low=-4, width=0.25, counts=tuple(round(4096 * c) for c in counts), under=1, over=1)


def stats(rms: float, *, numel: int = 65536, skew: float = 0.0) -> TensorStats:
    return TensorStats(
        numel=numel,
        sampled=4096,
        rms=rms,
        mean=0.1 * rms,
        std=rms,
        min=-4 * rms,
        max=4 * rms,
        zero_share=0.0,
        norm=rms * math.sqrt(numel),
        exponents=_exponents(rms),
        values=_values(skew),
    )


def cosine(one_minus: float, n: int = 8) -> Cosine:
    matrix = tuple(
        tuple(1.0 if i == j else 1 - one_minus + 0.05 * ((i * j) % 3 - 1) * one_minus for j in range(n))
        for i in range(n)
    )
    return Cosine(num_samples=n, mean=1 - one_minus, one_minus_mean=one_minus, between_share=one_minus, matrix=matrix)


def site(index: int, path: str, op: str, kind: str, rms: float, grad: float | None, **more) -> Site:
    return Site(
        index=index,
        path=path,
        module_class=more.pop("module_class", op.capitalize()),
        op=op,
        kind=kind,
        shape=more.pop("shape", (8, 192)),
        dtype="float32",
        forward=stats(rms),
        backward=None if grad is None else stats(grad),
        **more,
    )


def expect(rms: float, measured: float, width: int = 192) -> Prediction:
    std = 1 / math.sqrt(width)
    return Prediction(
        rms=rms, log_rms_std=std, z=math.log(measured / rms) / std if measured > 0 else -99.0, source="moments"
    )


MAP = {"op": "linear", "role": "weight", "role_from": "graph", "layout": Layout.linear()}


def parameter(path: str, shape: tuple[int, ...], ratio: float | None, **more) -> ParameterRecord:
    return ParameterRecord(
        path=path,
        owner_class=more.pop("owner_class", "Linear"),
        shape=shape,
        dtype="float32",
        weight=stats(0.02),
        requires_grad=True,
        used=True,
        state=more.pop("state", "nonzero"),
        gradient=stats(0.02 * ratio) if ratio else None,
        grad_over_weight=ratio,
        **more,
    )


def header(model_class: str, **more) -> Header:
    return Header(
        **{
            "model_class": model_class,
            "num_parameters": 5_717_416,
            "num_trainable": 5_717_416,
            "num_modules": 152,
            "batch": "inputs[0] 8×3×224×224 float32",
            "dtype": "float32",
            "device": "cpu",
            "training": True,
            "seeds": (0,),
            "seconds": {"forward": 0.21, "backward": 0.45, "total": 0.93},
            "versions": {"fanin": "0.1.0", "torch": "2.13.0"},
            **more,
        }
    )


ALL_CODES = tuple(f"S20{i}" for i in range(1, 7)) + tuple(f"G40{i}" for i in range(1, 5)) + ("P501", "P502", "L801")


def vit(blocks: int = 12) -> CheckResult:
    """A healthy vision transformer."""
    sites, parameters = [], []

    def add(path, op, kind, rms, grad, weight=None, **more):
        names = ()
        if weight:
            names = (f"{path}.weight", f"{path}.bias")
            parameters.append(
                parameter(names[0], weight, 0.02 + 0.001 * len(parameters), fan_in=weight[1], fan_out=weight[0], **MAP)
            )
        predicted = expect(rms * (1 + 0.03 * math.sin(len(sites))), rms)
        cos = cosine(0.6 / (1 + len(sites) / 40)) if kind in ("weight", "merge") else None
        sites.append(
            site(
                len(sites),
                path,
                op,
                kind,
                rms,
                grad,
                parameters=names,
                predicted=predicted,
                predicted_backward=expect(grad * (1 + 0.05 * math.cos(len(sites))), grad),
                sample_cosine=cos,
                **more,
            )
        )

    add("patch_embed.proj", "conv2d", "weight", 0.58, 2e-5, (192, 768))
    for i in range(blocks):
        stream, g = 0.6 + 0.05 * i, 2e-5 * (1 + 0.1 * (blocks - i))
        add(f"blocks.{i}.norm1", "layer_norm", "norm", 1.0, g)
        add(f"blocks.{i}.attn.qkv", "linear", "weight", 0.9 + 0.02 * math.sin(i), g, (576, 192))
        heads = tuple(0.02 + 0.01 * h + 0.002 * i for h in range(3))
        attention = AttentionRecord(num_keys=197, logit_std=heads, condensation=heads, entropy=(0.99, 0.98, 0.97))
        add(f"blocks.{i}.attn", "scaled_dot_product_attention", "attention", 0.3, g, attention=attention)
        add(f"blocks.{i}.attn.proj", "linear", "weight", 0.25, g, (192, 192))
        add(f"blocks.{i}", "add", "merge", stream, g)
        add(f"blocks.{i}.mlp.fc1", "linear", "weight", 0.8, g, (768, 192), follower="gelu")
        add(f"blocks.{i}.mlp.act", "gelu", "activation", 0.5, g)
        add(f"blocks.{i}.mlp.fc2", "linear", "weight", 0.3, g, (192, 768))
        add(f"blocks.{i}", "add", "merge", stream + 0.02, g, call=1)
    add("norm", "layer_norm", "norm", 1.0, 3e-5)
    add("head", "linear", "weight", 0.28, 2e-3, (1000, 192))
    note = Finding(
        code="G403",
        name="zero-init-gate",
        severity="note",
        paths=("head.weight",),
        message="The gradient is zero now and not after one step: the branch is closed by design.",
        fix=Fix(text="Nothing to do."),
    )
    return CheckResult(
        header=header("VisionTransformer"),
        measurements=Measurements(
            sites=tuple(sites),
            parameters=tuple(parameters),
            inputs=(
                InputRecord(
                    name="inputs[0]",
                    shape=(8, 3, 224, 224),
                    dtype="float32",
                    floating=True,
                    stats=stats(1.0),
                    as_read=stats(1.0),
                ),
            ),
            loss=LossRecord(
                source="cross_entropy",
                value=6.95,
                op="cross_entropy",
                num_classes=1000,
                baseline=6.9078,
                prediction=stats(0.28),
            ),
            output=stats(0.28),
            output_cosine=cosine(0.3),
            jacobian=JacobianRecord(chi=0.8, relative_error=0.1, num_probes=4),
            batch_size=8,
            training=True,
        ),
        findings=(note,),
        not_run=(
            NotRun(code="N601", name="batchnorm-tiny-batch", reason="the model has no batch normalisation"),
            NotRun(code="O901", name="step-size", reason="no optimizer was given"),
            NotRun(code="O902", name="precision-range", reason="no optimizer was given"),
        ),
        checked=ALL_CODES,
    )


def mlp(depth: int = 100, *, factor: float = 0.75, name: str = "Sequential") -> CheckResult:
    """A deep network of rectifiers at torch's default: the signal shrinks by `factor` a layer."""
    sites, parameters = [], []
    for i in range(depth):
        rms, grad = 0.58 * factor**i, 1e-3 * factor ** (depth - i)
        path = f"layers.{i}.fc"
        parameters.append(
            parameter(f"{path}.weight", (256, 256), grad / 0.02, fan_in=256.0, fan_out=256.0, follower="relu", **MAP)
        )
        predicted = expect(0.6 * factor**i * (1 if i < 60 else 1.4), rms, 256)
        sites.append(
            site(
                2 * i,
                path,
                "linear",
                "weight",
                rms,
                grad,
                parameters=(f"{path}.weight",),
                predicted=predicted,
                predicted_backward=expect(grad * (0.8 if i < 60 else 1.1), grad, 256),
                sample_cosine=cosine(max(0.7 * 0.8**i, 1e-9)),
                follower="relu",
                shape=(64, 256),
            )
        )
        dead = min(0.01 * i, 0.6)
        active = tuple(max(0.0, min(1.0, (q / 32 - dead) * 1.4)) for q in range(33))
        sites.append(
            site(
                2 * i + 1,
                f"layers.{i}.act",
                "relu",
                "activation",
                rms * 0.7,
                grad,
                inputs=(2 * i,),
                shape=(64, 256),
                activity=Activity(
                    num_units=256,
                    num_samples=64,
                    num_positions=64,
                    dead_share=dead,
                    expected_dead_share=dead * 0.9,
                    active=active,
                ),
            )
        )
    paths = tuple(f"layers.{i}.fc" for i in range(depth))
    broken = factor**depth < 1e-2
    findings = (
        Finding(
            code="S201",
            name="forward-vanishing",
            severity="error",
            paths=paths,
            pattern="layers.*.fc",
            value=factor**depth,
            threshold=1e-4,
            unit="x over depth",
            message=f"The rms of the signal shrinks by {factor} a layer, {factor**depth:.1e} from first to last: "
            "the last layers see almost nothing of the input.",
            fix=Fix(
                text="Give the weights in front of a ReLU the gain sqrt(2).",
                code="torch.nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')",
            ),
            evidence={"sites": [2 * i for i in range(depth)]},
            source="He et al. 2015 (arXiv 1502.01852)",
        ),
        Finding(
            code="P502",
            name="fan-mismatch",
            severity="note",
            paths=paths[:3],
            value=1 / 6,
            threshold=0.9,
            unit="of He's variance",
            message="The weights have a sixth of the variance that a ReLU network needs.",
            fix=Fix(text="See S201."),
        ),
    )
    consequences = (
        Finding(
            code="S203",
            name="backward-vanishing",
            severity="error",
            paths=paths,
            value=factor**depth,
            threshold=1e-4,
            message="The gradient shrinks on the way back.",
            fix=Fix(text="As S201."),
            because_of=("S201",),
        ),
        Finding(
            code="S205",
            name="sample-collapse",
            severity="error",
            paths=("layers.99.fc",),
            value=2e-9,
            threshold=1e-5,
            message="Different inputs give the same output.",
            fix=Fix(text="As S201."),
            because_of=("S201",),
        ),
    )
    return CheckResult(
        header=header(
            name,
            num_parameters=6_579_200,
            num_trainable=6_579_200,
            num_modules=2 * depth + 1,
            batch="inputs[0] 64×256 float32",
        ),
        measurements=Measurements(
            sites=tuple(sites),
            parameters=tuple(parameters),
            inputs=(
                InputRecord(
                    name="inputs[0]",
                    shape=(64, 256),
                    dtype="float32",
                    floating=True,
                    stats=stats(1.0),
                    as_read=stats(1.0),
                ),
            ),
            loss=LossRecord(source="cotangent", value=float("nan")),
            output=stats(sites[-1].forward.rms),
            batch_size=64,
            training=True,
        ),
        findings=findings if broken else (),
        consequences=consequences if broken else (),
        not_run=(NotRun(code="L801", name="initial-loss-too-high", reason="no loss and no targets were given"),),
        checked=ALL_CODES,
    )


def hostile() -> CheckResult:
    """Names, messages and numbers that mean harm."""
    zero = stats(0.0)
    sites = (
        site(0, HOSTILE, "linear", "weight", 1.0, None, parameters=(f"{HOSTILE}.weight",), module_class=HOSTILE),
        Site(
            index=1,
            path="b",
            module_class="Linear",
            op="linear",
            kind="weight",
            shape=(0,),
            dtype="float32",
            forward=TensorStats(
                numel=0,
                sampled=0,
                rms=float("nan"),
                mean=float("nan"),
                std=float("nan"),
                min=float("inf"),
                max=float("-inf"),
                zero_share=0.0,
                num_nonfinite=3,
                any_nonfinite=True,
            ),
            backward=zero,
        ),
    )
    finding = Finding(
        code="S201",
        name="forward-vanishing",
        severity="warning",
        paths=(HOSTILE,),
        value=float("inf"),
        threshold=float("nan"),
        unit="</script>",
        message=f"</script><img src=x onerror=alert(1)> {HOSTILE}",
        fix=Fix(text="[bold]do[/bold] \x1b[2J", code="x = '<b>'\ny\x00"),
        evidence={"<!--": "</script><!--"},
    )
    return CheckResult(
        header=header(
            HOSTILE,
            batch=HOSTILE,
            device="\x07",
            target=HOSTILE,
            seeds=(0, 1),
            source_lines={HOSTILE: ("/tmp/a b.py", 3)},
        ),
        measurements=Measurements(
            sites=sites,
            parameters=(parameter(f"{HOSTILE}.weight", (2, 2), None),),
            inputs=(),
            loss=LossRecord(source="cotangent", value=float("nan")),
        ),
        findings=(finding,),
        ignored=(finding,),
        unused_ignores=("</script>[red]",),
        not_run=(NotRun(code="A301", name="dead-units", reason=HOSTILE),),
        checked=("S201",),
    )


def empty() -> CheckResult:
    """A model without a parameter."""
    return CheckResult(
        header=header("Identity", num_parameters=0, num_trainable=0, num_modules=1),
        measurements=Measurements(sites=(), parameters=(), inputs=(), loss=LossRecord(source="cotangent", value=0.0)),
        checked=("S201",),
    )


def watched(optimizer: str = "AdamW", last: int = 100) -> CheckResult:
    """Two layers of rectifiers whose first hundred steps were watched; a schedule warms up, step 60 is not finite."""
    numbers = [n for n in (*range(1, 11), *range(15, 51, 5), *range(60, 101, 10)) if n <= last]
    steps = tuple(
        StepRecord(
            step=n,
            effective=min(n, 20) / 2 + max(n - 20, 0),
            rate=3e-3 * min(n / 20, 1.0),
            loss=None if n == 60 else 2.3 * 0.99**n,
            updates=() if n == 60 else (0.02 / (1 + n / 10), 0.04 / (1 + n / 10), None),
            distances=() if n == 60 else (0.02 * math.sqrt(n), 0.03 * math.sqrt(n), None),
            activations=(1.0, 0.8 * 1.01**n),
            dead=(0.0, min(n / 200, 0.4)),
            nonfinite="loss" if n == 60 else "",
        )
        for n in numbers
    )
    plain = mlp(2, factor=0.98, name="Watched")
    names = ("layers.0.fc.weight", "layers.1.fc.weight", f"{optimizer}.weight")
    run = Watched(optimizer=optimizer, peak=3e-3, weights=names, layers=("layers.0.fc", "layers.1.fc"), steps=steps)
    finding = Finding(
        code="W901",
        name="weights-replaced",
        severity="warning",
        paths=names[:2],
        value=1.2,
        threshold=1.0,
        unit="change / initial weight",
        message="After 20 steps the weights have moved by 1.2 times their initial size.",
        fix=Fix(text="Lower the learning rate."),
    )
    return dataclasses.replace(
        plain,
        header=dataclasses.replace(plain.header, batch_hash="0123456789abcdef"),
        measurements=dataclasses.replace(plain.measurements, watched=run),
        findings=(finding,),
        consequences=(),
    )


SAMPLES = {
    "vit": vit,
    "deep_mlp": mlp,
    "two_layers": lambda: mlp(2, factor=0.98, name="TwoLayers"),
    "hostile": hostile,
    "empty": empty,
    "watched": watched,
    "watched_hostile": lambda: watched(HOSTILE, last=1),
}
