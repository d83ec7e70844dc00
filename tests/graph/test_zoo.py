"""The zoo: every architecture is captured and labelled, and the labels agree with those that people reviewed."""

from fnmatch import fnmatch

import pytest
import torch

from fanin.graph.recording.capture import capture
from fanin.graph.roles.data import ParameterRole
from fanin.graph.roles.label import roles
from fanin.graph.verify import verify
from fanin.layout import fans
from zoo import FAST, reviewed_labels, zoo

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers and timm say while they build

LABELS = reviewed_labels()
ALL = sorted(LABELS)

# a reviewed role -> the roles that say the same or more
SAME_ROLE = {
    "norm": {"norm_scale", "norm_shift"},
    "norm_scale|scale": {"norm_scale", "scale"},
    "weight": {"weight", "embedding", "position", "attn_bias"},
    "wgain": {"gain"},
    "scale": {"scale", "layer_scale", "norm_scale"},
    "shift": {"shift", "position", "bias"},
}
# a reviewed tag -> the tags that say the same or more
SAME_TAG = {"attn_qk": {"attn_q", "attn_k"}, "act": {"act", "router"}}

# (model, parameter, field) patterns where fanin says something else on purpose, and why
ARGUED = {
    ("lowrank_lora", "[24].*", "*"): "a low-rank update is a second summand of the same map: both feed the activation",
    (
        "wavenet_gated",
        "b.[23].skip.weight",
        "*",
    ): "skip outputs are summed side by side; none is added to what it was computed from",
    (
        "hf_detr",
        "*.layers.*_proj.weight",
        "src",
    ): "normalized stream plus positions: fed by a norm (and by positions), not by the raw stream",
    (
        "hf_detr",
        "model.decoder.layers.0.self_attn.o_proj.weight",
        "norm_after",
    ): "added to zero queries: the sum is the first value of the stream",
    (
        "hf_patchtst",
        "model.encoder.embedder.input_embedding.weight",
        "src",
    ): "the input is scaled by its own statistics: a norm",
    (
        "nn_transformer",
        "tr.decoder.layers.*.multihead_attn.in_proj_weight",
        "*",
    ): "one weight for query and memory: three parts, and the depth of its first use",
}


def argued(model, name, field):
    return any(fnmatch(model, m) and fnmatch(name, p) and fnmatch(field, f) for m, p, f in ARGUED)


def disagreements(found: ParameterRole, label: dict) -> dict[str, tuple]:
    """Fields in which a role differs from a reviewed label."""
    said = {"role": found.role in SAME_ROLE.get(label["role"], {label["role"]})}
    if "tags" in label and label["role"] == "weight":
        use = found.use
        counted = fans(found.shape, found.layout)
        parts = len(found.parts) or 1
        strides = (
            found.layout.stride
            if isinstance(found.layout.stride, tuple)
            else (found.layout.stride,) * len(found.layout.tap_axes)
        )
        decimation = 1
        for s in strides:
            decimation *= 1 if found.layout.transposed else s
        said |= {
            "fan_in": found.fan_in == pytest.approx(label["fan_in"]),
            "fan_out": counted.fan_out * parts * decimation == pytest.approx(label["fan_out"]),
            "tags": has_tags(found, label["tags"]),
            "act": label["act"] is None or has_activation(found, label["act"]),
            "residual": found.writes_residual == label["residual"],
            "norm_after": bool(use.norm_after) == label["norm_after"],
            "src": has_source(found, label["src"]),
            "depth": found.depth == label["depth"],
        }
    return {field: (label.get(field), found) for field, agrees in said.items() if not agrees}


def has_tags(found, reviewed):
    have = {t for tag in found.tags for t in tag.split("+")}
    return all(have & SAME_TAG.get(t, {t}) for tag in reviewed for t in tag.split("+"))


def has_activation(found, reviewed):
    names = {a.name for use in found.uses for a in use.activations} | {
        a.label for use in found.uses for a in use.activations
    }
    if reviewed.startswith("custom"):  # sin(30 x) has a name now
        return "sin" in names
    return all(n in names for n in reviewed.split("|")) or reviewed == "softmax"


def has_source(found, reviewed):
    if reviewed.startswith("act:custom"):
        reviewed = "act:sin(30x)"
    wanted = set(reviewed[4:-1].split("+")) if reviewed.startswith("sum(") else {reviewed}
    same = {"param": {"param", "const"}, "lin": {"lin", "rnn"}}
    return all(set(found.use.feeds) & same.get(w, {w}) for w in wanted if w != "act:sin")


def check_labels(model_name, found):
    wrong = {}
    for name, label in LABELS[model_name].items():
        for field, (want, role) in disagreements(found[name], label).items():
            if not argued(model_name, name, field):
                wrong[name, field] = (want, role.role, role.tags, role.feeds, role.depth)
    assert not wrong, f"{model_name}: {wrong}"


def read(name, build, device=None):
    torch.manual_seed(0)
    if device is None:
        model, inputs = build()
    else:
        _, inputs = build()
        with torch.device(device):
            model, _ = build()
    graph = verify(capture(model, inputs, mode="fake"))
    found = roles(graph)
    assert set(found) == set(dict(model.named_parameters()))
    assert not [n for n, r in found.items() if r.role == "unknown"]
    return found


@pytest.mark.parametrize("name", FAST)
def test_labels_agree_with_the_reviewed_ones(name):
    check_labels(name, read(name, zoo()[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in ALL if n not in FAST])
def test_labels_agree_on_the_rest_of_the_zoo(name):
    check_labels(name, read(name, zoo()[name]))


@pytest.mark.parametrize("name", ["hf_llama", "timm_nfnet", "lstm_lm", "spectral_normed"])
def test_a_model_on_meta_gets_the_same_labels(name):
    check_labels(name, read(name, zoo()[name], device="meta"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_the_whole_zoo_on_meta(name):
    check_labels(name, read(name, zoo()[name], device="meta"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_the_whole_zoo_with_real_numbers(name):
    torch.manual_seed(0)
    model, inputs = zoo()[name]()
    check_labels(name, roles(verify(capture(model, inputs, mode="real"))))


def test_the_comparison_can_fail():
    found = read("mlp_relu", zoo()["mlp_relu"])
    label = dict(LABELS["mlp_relu"]["0.weight"])
    assert not disagreements(found["0.weight"], label)
    for field, wrong in {
        "fan_in": 3,
        "tags": ["gate"],
        "act": "tanh",
        "residual": True,
        "src": "norm",
        "depth": 9,
        "role": "bias",
    }.items():
        changed = label | {field: wrong}
        assert field in disagreements(found["0.weight"], changed), field


def test_every_argument_is_used():
    models = {m for m, _, _ in ARGUED}
    assert models <= set(ALL)
