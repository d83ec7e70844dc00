"""Pictures: what is drawn, that blocks fold, and that the texts are well formed."""

import xml.etree.ElementTree as ET

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from fanin.commands.app import app
from fanin.drawing.picture import FORMATS, _arrow, _Spot, draw
from fanin.drawing.scene import scene
from fanin.errors import UnknownNameError
from fanin.graph.recording.capture import capture


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


@pytest.fixture(scope="module")
def stack():
    return capture(nn.Sequential(nn.Linear(4, 8), *(Block() for _ in range(5)), nn.Linear(8, 2)), torch.zeros(3, 4))


def test_equal_blocks_fold(stack):
    folded, unfolded = scene(stack), scene(stack, fold=False)
    titles = [n.title for n in folded.root.nodes()]
    assert titles.count("up") == 1
    assert [n.title for n in unfolded.root.nodes()].count("up") == 5
    assert any("x 5" in child.title for child in folded.root.children)


def test_edges_follow_the_signal(stack):
    drawn = scene(stack, fold=False)
    names = {n.index: n.title for n in drawn.root.nodes()}
    edges = {(names[a], names[b]) for a, b in drawn.edges}
    assert {
        ("norm: layer norm", "up"),
        ("up", "relu"),
        ("relu", "down"),
        ("down", "+"),
        ("+", "norm: layer norm"),
    } <= edges


def test_svg_is_xml_and_boxes_hold_their_nodes(stack):
    root = ET.fromstring(draw(stack, "svg"))
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "down" in texts
    assert sum(t == "+" for t in texts) == 1


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_drawing_is_repeatable(stack, format):
    assert draw(stack, format) == draw(stack, format)


def test_names_with_markup_are_escaped():
    odd = type("A<b>&c", (nn.Sequential,), {})(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
    ET.fromstring(draw(capture(odd, torch.zeros(1, 2)), "svg"))


def test_an_unknown_format_is_named():
    with pytest.raises(UnknownNameError, match="no picture format"):
        draw(capture(nn.Linear(2, 2), torch.zeros(1, 2)), "png")


def test_the_command_draws(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\n\ndef build():\n    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())\n"
    )
    result = CliRunner().invoke(app, ["graph", f"{tmp_path / 'net.py'}:build", "--format", "mermaid"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("flowchart TD")


@pytest.mark.parametrize(("left", "bent"), [(55.5, True), (56.5, False), (24.5, True), (23.5, False)])
def test_an_arrow_keeps_six_pixels_from_what_is_between(left, bent):
    """From x = 50 down to x = 50, past a node of width 20."""
    above, below = _Spot(40.0, 0.0, 20.0, 10.0), _Spot(40.0, 200.0, 20.0, 10.0)
    between = _Spot(left, 90.0, 20.0, 20.0)
    assert (" L" in _arrow(above, below, [above, between, below])) == bent


def test_the_plan_is_written_into_the_nodes_of_every_format(stack):
    starts = {"1.up.weight": "Normal std 0.125", "1.norm.weight": "Ones", "1.up.bias": "Zeros"}
    for format in FORMATS:
        plain, planned = draw(stack, format, fold=False), draw(stack, format, fold=False, starts=starts)
        assert "Normal std 0.125" not in plain
        assert planned.count("Normal std 0.125") >= 1
        assert "Zeros" not in planned  # the bias of a map is left out
    told = [n.start for n in scene(stack, fold=False, starts=starts).root.nodes() if n.title == "up"]
    assert told == ["Normal std 0.125", "", "", "", ""]


def test_blocks_that_start_differently_are_not_folded_together(stack):
    starts = {f"{i}.up.weight": "Zeros" if i == 3 else "Normal" for i in range(1, 6)}
    titles = [n.start for n in scene(stack, starts=starts).root.nodes() if n.title == "up"]
    assert sorted(titles) == ["Normal", "Zeros"]


def test_the_command_draws_the_plan(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\ndef build():\n    return torch.nn.Sequential(torch.nn.Linear(4, 8)), torch.zeros(2, 4)\n"
    )
    done = CliRunner().invoke(app, ["graph", f"{file}:build", "--plan", "--format", "mermaid"])
    assert done.exit_code == 0
    assert "Normal std 0.500" in done.stdout
