"""The zoo: every architecture is captured and labelled, and the labels agree with those that people reviewed."""

import pytest
import torch

from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from fanin.graph.verify import verify
from tests.selection import few
from zoo import FAST, reviewed_labels, zoo
from zoo.review import ARGUED, argued, disagreements

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers and timm say while they build

LABELS = reviewed_labels()
LONG = ("hf_detr", "hf_gemma3", "hf_swin")
ALL = sorted(LABELS)
SHORT = [name for name in FAST if name not in LONG]


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


@pytest.mark.parametrize("name", few(SHORT, *(n for n in SHORT[::2] if n not in ("hf_bert", "hf_mixtral"))))
def test_labels_agree_with_the_reviewed_ones(name):
    check_labels(name, read(name, zoo()[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in ALL if n not in FAST or n in LONG])
def test_labels_agree_on_the_rest_of_the_zoo(name):
    check_labels(name, read(name, zoo()[name]))


@pytest.mark.parametrize(
    "name", few(["hf_llama", "timm_nfnet", "lstm_lm", "spectral_normed"], "hf_llama", "lstm_lm", "spectral_normed")
)
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
