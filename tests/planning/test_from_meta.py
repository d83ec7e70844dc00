"""A model built on the meta device and materialised computes what the CPU model of the same plan computes."""

import pytest
import torch
from torch import nn

import fanin
from tests.selection import few
from zoo import make_torchvision_importable

make_torchvision_importable()
transformers = pytest.importorskip("transformers")
SIZES = {
    "vocab_size": 31,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, num_key_value_heads=2))


def mixture():
    config = transformers.MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=3)
    return transformers.MixtralForCausalLM(config)


def bert():
    return transformers.BertModel(transformers.BertConfig(**SIZES))


def resnet():
    return pytest.importorskip("timm").create_model("test_resnet", num_classes=5)


class Positions(nn.Module):
    """Rotary frequencies as a plain attribute, which `rope_init` computes."""

    def __init__(self, width=8):
        super().__init__()
        self.width, self.maps = width, nn.Linear(width, 2 * width)
        self.rope_init()

    def rope_init(self):
        rates = 1 / 100 ** (torch.arange(0, self.width, 2) / self.width)
        self.freqs = torch.outer(torch.arange(16.0), rates)

    def forward(self, x):
        a, b = self.maps(x).chunk(2, -1)
        cos, sin = (f(self.freqs[: x.shape[1]]).repeat(1, 2) for f in (torch.cos, torch.sin))
        return a * cos + b * sin


IDS = torch.randint(0, 31, (2, 7), generator=torch.Generator().manual_seed(0))
MODELS = {
    "Llama": (llama, {"input_ids": IDS}),
    "mixture of experts": (mixture, {"input_ids": IDS}),
    "BERT": (bert, {"input_ids": IDS}),
    "ResNet": (resnet, (torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)),)),
    "plain attribute": (Positions, (torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2)),)),
}


def outputs(model, inputs):
    model.eval()
    with torch.no_grad():
        found = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    return found if isinstance(found, torch.Tensor) else found[0]


@pytest.mark.parametrize("name", few(MODELS, "Llama", "plain attribute"))
@pytest.mark.parametrize("kept", [False, True], ids=["meta", "keep_buffers"])
def test_the_same_outputs_and_buffers_as_on_the_cpu(name, kept):
    build, inputs = MODELS[name]
    real = build()
    if kept:
        with fanin.keep_buffers():
            made = build()
    else:
        with torch.device("meta"):
            made = build()
    assert all(p.is_meta for p in made.parameters())
    plan = fanin.plan(made, inputs, recipe="classic", seed=4, on_unknown="keep")
    plan.materialize(made)
    plan.apply_(real)
    left = [n for n, t in (*made.named_parameters(), *made.named_buffers()) if t.is_meta]
    assert not left
    for (n, one), (_, two) in zip(made.named_buffers(), real.named_buffers(), strict=True):
        assert one.dtype == two.dtype, n
        assert torch.equal(one, two), n
    assert torch.equal(outputs(made, inputs), outputs(real, inputs))


def test_the_comparison_can_fail():
    build, inputs = MODELS["plain attribute"]
    real, other = build(), build()
    other.load_state_dict(real.state_dict())
    other.freqs = other.freqs + 0.1
    assert not torch.equal(outputs(real, inputs), outputs(other, inputs))


def test_names_of_the_user_are_no_wrappers():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(3, 3)
            self._orig_mod_weight = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return self.module(x) * self._orig_mod_weight

    for model in (Own(), nn.DataParallel(Own()), torch.compile(Own(), backend="eager")):
        plan = fanin.plan(model, recipe="torch", on_unknown="keep")
        assert set(plan) == {"module.weight", "module.bias", "_orig_mod_weight"}
        plan.apply_(model)
        assert plan.verify(model).ok
