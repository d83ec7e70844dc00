"""Real BERT- and Llama-like models at four widths: their names and numbers are whole in every table."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch
from rich.cells import cell_len

import fanin
from fanin.planning.rows import rows
from fanin.planning.totals import module_totals
from fanin.planning.view import PlanView
from fanin.report.rows import names_of
from fanin.report.terminal import TerminalReport
from fanin.text.console import plain_text
from fanin.text.folding import Line, under_headings
from fanin.text.numbers import count, figures
from tests.selection import few
from zoo import make_torchvision_importable

make_torchvision_importable()
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # third-party libraries warn about themselves
WIDTHS = (60, 80, 100, 120)
SMALL = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


def bert():
    return transformers.BertForMaskedLM(transformers.BertConfig(**SMALL))


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, num_key_value_heads=1))


@pytest.fixture(scope="module", params=few([bert, llama], llama), ids=lambda make: make.__name__)
def drawn(request):
    """The plan and the check of a model."""
    torch.manual_seed(0)
    model, inputs = request.param(), {"input_ids": torch.randint(0, 64, (4, 12))}
    return fanin.plan(model, inputs), fanin.check(model, inputs, trial=False, predict=False).result


def lines_of(drawing, width):
    text = plain_text(drawing, width=width)
    assert "…" not in text
    assert max(map(cell_len, text.splitlines())) <= width
    return text


def column_of_names(text):
    """The letters of all that stands left of the first gap of two blanks, line by line."""
    return "".join(re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines())


def as_shown(names):
    """The letters of the names as they stand in a column: each alone, or under headings of their blocks."""
    lines: tuple[Line, ...] = under_headings(names)
    return ["".join(names), "".join(line.text.strip() for line in lines)]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_plan_keeps_every_name_and_every_std(drawn, width):
    plan, _ = drawn
    text = lines_of(PlanView(plan, why=False), width)
    table = rows(plan)
    body = text[text.index("─") :]
    assert Counter(figures(r.std) for r in table) <= Counter(re.findall(r"\S+", body))
    letters = column_of_names(body)
    shared = re.search(r"each name starts with\n(.*?)\nparameter", text, re.DOTALL)
    prefix = re.sub(r"\s", "", shared[1]) if shared else ""
    names = [r.pattern.removeprefix(prefix) for r in table]
    assert all(r.pattern.startswith(prefix) for r in table)
    assert any(re.sub(r"\s", "", shown) in letters for shown in as_shown(names))


@pytest.mark.parametrize("width", few(WIDTHS, every=2))
def test_the_tree_keeps_every_number(drawn, width):
    plan, _ = drawn
    text = lines_of(PlanView(plan, tree=True), width)
    for total in module_totals(plan):
        assert count(total.numel) in text
        assert (total.pattern or plan.model).split(".")[-1] in column_of_names(text)


@pytest.mark.parametrize("width", few(WIDTHS, every=2))
def test_the_check_keeps_every_layer_with_its_sizes(drawn, width):
    _, result = drawn
    text = lines_of(TerminalReport(result, max_layers=None), width)
    table = text[text.index("grad rms") :]
    sites = [s for s in result.measurements.sites if s.kind == "weight"]
    names = dict(zip(result.measurements.sites, names_of(result.measurements.sites), strict=True))
    for site in sites:
        assert figures(site.forward.rms) in table
        assert names[site].split(".")[-1] in table


def test_a_cut_name_is_seen():
    names = ["bert.encoder.layer.{0..2}.attention.self.query.weight"]
    whole = column_of_names("bert.encoder.\n  layer.{0..2}.attention.\n  self.query.weight  16×16")
    assert any(shown in whole for shown in as_shown(names))
    assert not any(shown in whole.replace("query", "que") for shown in as_shown(names))
