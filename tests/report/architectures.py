"""Parameter names and shapes of five kinds of networks as a plan and a check result, without a model."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.initializers import Normal, Zeros
from fanin.measure.record import LossRecord, Measurements
from fanin.planning.assignment import Assignment
from fanin.planning.plan import Plan
from fanin.rules.finding import Finding, Fix
from fanin.rules.result import CheckResult
from tests.report.samples import ALL_CODES, cosine, expect, header, parameter, site

_REASON = "output layer: std chosen so that the outputs have rms 1 for the input it receives"


def two_layer() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from (("0", (300, 784)), ("2", (10, 300)))


def hundred_layer() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((str(2 * i), (64, 64)) for i in range(100))


def bert() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "bert.embeddings.word_embeddings", (30522, 768)
    for i in range(12):
        layer = f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            yield f"{layer}.attention.self.{part}", (768, 768)
        yield f"{layer}.attention.output.dense", (768, 768)
        yield f"{layer}.intermediate.dense", (3072, 768)
        yield f"{layer}.output.dense", (768, 3072)
    yield "bert.pooler.dense", (768, 768)
    yield "classifier", (2, 768)


def resnet50() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "conv1", (64, 3, 7, 7)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        width = 32 * 2**stage
        for i in range(blocks):
            block = f"layer{stage}.{i}"
            yield f"{block}.conv1", (width, 4 * width, 1, 1)
            yield f"{block}.conv2", (width, width, 3, 3)
            yield f"{block}.conv3", (4 * width, width, 1, 1)
            if i == 0:
                yield f"{block}.downsample.0", (4 * width, 2 * width, 1, 1)
    yield "fc", (1000, 2048)


def llama() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens", (128256, 4096)
    for i in range(32):
        layer = f"model.layers.{i}"
        for part, rows in (("q_proj", 4096), ("k_proj", 1024), ("v_proj", 1024), ("o_proj", 4096)):
            yield f"{layer}.self_attn.{part}", (rows, 4096)
        for part in ("gate_proj", "up_proj"):
            yield f"{layer}.mlp.{part}", (14336, 4096)
        yield f"{layer}.mlp.down_proj", (4096, 14336)
    yield "lm_head", (128256, 4096)


ARCHITECTURES = {f.__name__: f for f in (two_layer, hundred_layer, bert, resnet50, llama)}


def plan_of(name: str) -> Plan:
    """A plan of the network: normal weights, biases at zero."""
    made = []
    for path, shape in ARCHITECTURES[name]():
        std = shape[-1] ** -0.5
        more = {"dtype": "float32", "rule": "r"}
        law = Normal(std=std)
        made += [
            Assignment(
                name=f"{path}.weight", role="weight", shape=shape, initializer=law, std=std, reason=_REASON, **more
            ),
            Assignment(
                name=f"{path}.bias",
                role="bias",
                shape=shape[:1],
                initializer=Zeros(),
                std=0.0,
                reason="biases start at zero; random weights already make units differ",
                **more,
            ),
        ]
    return Plan(recipe="auto", seed=0, model=name, assignments={a.name: a for a in made})


def result_of(name: str) -> CheckResult:
    """A check of the network, with numbers of many sizes and three findings at its first layer."""
    sites, parameters = [], []
    for place, (path, shape) in enumerate(ARCHITECTURES[name]()):
        rms, grad = 0.987654 * 0.9**place, 1.23456e-12 * 1.2**place
        parameters.append(parameter(f"{path}.weight", shape, 1.2345e-5))
        sites.append(
            site(
                place,
                path,
                "linear",
                "weight",
                rms,
                grad,
                parameters=(f"{path}.weight",),
                predicted=expect(rms * 1.01, rms),
                predicted_backward=expect(grad, grad * 1.5),
                sample_cosine=cosine(6.78901e-13 * 1.3**place),
            )
        )
    found = [
        Finding(code=code, name="x", severity="warning", paths=(sites[0].path,), message="Found.", fix=Fix(text=""))
        for code in ("S203", "S205", "P502", "G404")
    ]
    return CheckResult(
        header=header(name),
        measurements=Measurements(
            sites=tuple(sites),
            parameters=tuple(parameters),
            inputs=(),
            loss=LossRecord(source="cotangent", value=1.0),
            output=sites[-1].forward,
            batch_size=8,
            training=True,
        ),
        findings=tuple(found),
        checked=ALL_CODES,
    )
