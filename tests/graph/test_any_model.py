"""Models outside any library: each is captured without computing, and gets roles that can be checked by hand."""

import pytest
import torch
from torch import nn

from fanin.errors import CaptureError, UnknownNameError
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from fanin.graph.verify import verify
from fanin.layout import Layout
from zoo.odd_models import ODD, Wrap, x

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def read(name):
    torch.manual_seed(0)
    model, inputs = ODD[name]()
    return roles(verify(capture(model, inputs, mode="fake")))


@pytest.mark.parametrize("name", sorted(ODD))
def test_captured_without_computing_and_nothing_is_unknown(name):
    found = read(name)
    assert not {n: r.reason for n, r in found.items() if r.role == "unknown" or not r.layout_known}


# (model, parameter) -> facts that can be told from the source code by hand
BY_HAND = {
    ("bilinear", "f.weight"): {"fan_in": 48, "layout": Layout.bilinear(), "tags": ("head",)},
    ("bias_expanded_by_hand", "b"): {"role": "bias"},
    ("embedding_bag_with_offsets", "e.weight"): {"role": "embedding"},
    ("lstm_cell_loop", "cell.weight_hh"): {"role": "rnn_hh", "fan_in": 12, "fan_out": 12, "iterated": 5},
    ("packed_sequence", "rnn.weight_ih_l0"): {"role": "rnn_ih", "fan_in": 4, "feeds": ("input",)},
    ("grouped_transposed_convolution", "0.weight"): {"fan_in": 2 * 16 / 4, "fan_out": 4 * 16},
    ("grouped_transposed_convolution", "2.weight"): {"fan_in": 9, "fan_out": 9, "feeds": ("act:relu",)},
    ("complex_spectral_weight", "w"): {"fan_in": 9, "fan_out": 9},
    ("vmapped_ensemble", "w"): {"layout": Layout.experts(), "fan_in": 4, "fan_out": 8},
    ("vmapped_ensemble", "b"): {"role": "bias", "owner": "w"},
    ("scripted_part", "0.0.weight"): {"fan_in": 4, "tags": ("act",)},
    ("checkpointed", "body.2.weight"): {"writes_residual": True, "feeds": ("act:relu",)},
    ("distribution_out", "spread.weight"): {"tags": ("head",)},
    ("in_place_everywhere", "g"): {"role": "scale"},
    ("in_place_everywhere", "out.weight"): {"tags": ("head",)},
    ("vector_quantized", "book.weight"): {"role": "embedding"},
    ("hypernetwork", "z"): {"role": "token"},
    ("hypernetwork", "h.weight"): {"fan_in": 3, "fan_out": 32},
    ("hypernetwork", "h.bias"): {"role": "bias", "owner": "h.weight"},
    ("learned_queries", "queries"): {"role": "token"},
    ("learned_queries", "norm.weight"): {"role": "norm_scale"},
    ("learned_queries", "attend.out_proj.weight"): {"writes_residual": True, "feeds": ("attn",)},
    ("old_style_reparametrizations", "0.weight_g"): {"role": "gain", "owner": "0.weight_v"},
    ("weight_standardized", "0.weight"): {"fan_in": 27, "tags": ("act",)},
    ("rezero", "alpha"): {"role": "layer_scale"},
    ("rezero", "down.weight"): {"writes_residual": True},
    ("swish_with_learned_slope", "beta"): {"role": "act_param"},
    ("swish_with_learned_slope", "out.weight"): {"feeds": ("act:silu",)},
    ("cosine_head", "w"): {"tags": ("head",), "feeds": ("norm",)},
    ("manual_gru", "wh.weight"): {"iterated": 5, "fan_out": 12},
}


@pytest.mark.parametrize(("name", "parameter"), sorted(BY_HAND))
def test_facts_told_by_hand(name, parameter):
    role = read(name)[parameter]
    assert {k: getattr(role, k) for k in BY_HAND[name, parameter]} == BY_HAND[name, parameter]


def test_parts_of_fused_projections_in_unit_order():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out, self.up = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 32)
            self.down = nn.Linear(16, 8)

        def forward(self, s):
            q, k, v = self.qkv(s).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
            s = s + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
            gate, up = self.up(s).chunk(2, -1)
            return s + self.down(nn.functional.silu(gate) * up)

    found = roles(capture(Fused(), x(2, 5, 8)))
    assert [(p.tag, p.start, p.size) for p in found["qkv.weight"].parts] == [
        ("attn_q", 0, 8),
        ("attn_k", 8, 8),
        ("attn_v", 16, 8),
    ]
    assert [(p.tag, p.size) for p in found["up.weight"].parts] == [("act+gate", 16), ("gate", 16)]
    assert found["qkv.weight"].fan_out == 8
    assert found["down.weight"].branch.num_branches == 2
    assert (
        found["down.weight"].branch.index,
        found["down.weight"].branch.position,
        found["down.weight"].branch.num_maps,
    ) == (1, 1, 2)


def test_interleaved_heads_are_not_called_parts():
    def run(m, s):
        q, k, v = m.qkv(s).view(2, 5, 2, 3, 4).unbind(3)
        return nn.functional.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))

    found = roles(capture(Wrap(run, qkv=nn.Linear(8, 24)), x(2, 5, 8)))
    assert found["qkv.weight"].parts == ()
    assert set(found["qkv.weight"].tags) == {"attn_q", "attn_k", "attn_v"}


def test_a_plain_stack_gives_its_weights_and_activations():
    found = roles(
        capture(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2)), x(3, 4))
    )
    assert [(name, act and act.name) for name, act in found.stack] == [
        ("0.weight", "tanh"),
        ("2.weight", "gelu"),
        ("4.weight", None),
    ]
    assert not roles(capture(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)), x(3, 4))).is_plain_stack


def test_ties_are_one_parameter_under_two_names():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(11, 4), nn.Linear(4, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(torch.tanh(self.embed(ids)))

    found = roles(capture(Tied(), torch.zeros(2, 3, dtype=torch.long)))
    assert found["head.weight"] is found["embed.weight"]
    assert found["embed.weight"].is_tied
    assert set(found["embed.weight"].tags) == {"embed", "act", "head"}


def test_unused_parameters_are_named_with_the_reason():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(2, 2)

        def forward(self, s):
            self.c(self.a(s))
            return self.a(s)

    found = roles(capture(Spare(), x(3, 4)))
    assert (found["b.weight"].role, found["b.weight"].reason) == ("unused", "the forward pass never reads it")
    assert "no influence on an output" in found["c.weight"].reason


def test_a_misspelt_parameter_is_named():
    found = roles(capture(nn.Sequential(nn.Linear(4, 2)), x(3, 4)))
    with pytest.raises(UnknownNameError, match=r"did you mean '0\.weight'"):
        found["0.weigth"]


def test_inputs_are_made_up_from_the_first_layer():
    g = capture(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 3)))
    assert g.value(g.inputs[0]).shape == (2, 3, 32, 32)


def test_without_inputs_the_error_shows_how_to_give_them():
    with pytest.raises(CaptureError, match=r"no inputs were given for Transformer\.forward\(src.*--input"):
        capture(nn.Transformer(8, 2, 1, 1, 16, batch_first=True))
