"""Models of timm and transformers by name, from their own configurations alone: nothing is fetched."""

from __future__ import annotations

import json
import socket

import pytest
from typer.testing import CliRunner

from fanin.commands.app import app
from fanin.commands.libraries import LIBRARIES
from fanin.commands.targets import load_target
from fanin.errors import TargetError
from tests.selection import few
from zoo import make_torchvision_importable

make_torchvision_importable()
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # third-party libraries warn about themselves
CONFIGS = {
    "bert": lambda: transformers.BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    ),
    "bert with a head": lambda: transformers.BertConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        architectures=["BertForMaskedLM"],
    ),
    "llama": lambda: transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        architectures=["LlamaForCausalLM"],
    ),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a target asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.slow) for n in CONFIGS])
def config(request, tmp_path):
    CONFIGS[request.param]().save_pretrained(tmp_path)
    return tmp_path / "config.json"


def run(*line):
    return CliRunner().invoke(app, [str(part) for part in line])


def test_a_configuration_is_a_target_of_plan_check_and_graph(config):
    loaded = load_target(f"hf:{config}")
    kind = json.loads(config.read_text()).get("architectures") or ["BertModel"]
    assert type(loaded.model).__name__ == kind[0]
    assert "input_ids" in loaded.inputs
    planned = run("plan", f"hf:{config}", "--no-trial")
    assert planned.exit_code == 0, planned.output
    assert "embedding" in planned.stdout
    checked = run("check", f"hf:{config}", "--no-trial", "--no-predict", "-q")
    assert checked.exit_code in (0, 1), checked.output
    assert "checks" in checked.stdout
    assert run("graph", f"hf:{config}", "--format", "mermaid").stdout.startswith("flowchart")


def test_the_folder_of_a_configuration_is_a_target_too(config):
    assert load_target(f"hf:{config.parent}", meta=True).model.device.type == "meta"


@pytest.mark.parametrize(
    ("text", "words"), [('{"model_type": "nothing"}', "cannot build"), ("[]", "cannot build"), ("", "cannot build")]
)
def test_what_is_no_configuration_is_refused(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(TargetError, match=words):
        load_target(f"hf:{tmp_path / 'config.json'}")


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


@pytest.mark.parametrize("name", few(["test_resnet", "test_vit"], every=2))
def test_a_model_of_timm_is_a_target(timm, name):
    assert load_target(f"timm:{name}").inputs is not None
    checked = run("check", f"timm:{name}", "--input", "2,3,160,160", "--no-trial", "--no-predict", "-q")
    assert checked.exit_code in (0, 1), checked.output
    assert "checks" in checked.stdout
    assert run("plan", f"timm:{name}", "--meta").exit_code == 0


@pytest.mark.slow
def test_resnet50_is_planned_without_weights(timm):
    done = run("plan", "timm:resnet50", "--meta", "--tree")
    assert done.exit_code == 0, done.output
    assert "25.56 M" in done.stdout


def test_an_unknown_name_and_a_library_that_cannot_be_imported_are_named(timm, monkeypatch):
    with pytest.raises(TargetError, match="no model 'resnet5'"):
        load_target("timm:resnet5")

    def broken(name, *args, **kwargs):
        if name == "timm":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *args, **kwargs)

    real = __import__
    monkeypatch.setattr("builtins.__import__", broken)
    with pytest.raises(TargetError, match=r"timm cannot be imported: RuntimeError.*fit together"):
        LIBRARIES["timm"]("resnet18")
