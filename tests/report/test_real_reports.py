"""Reports of real checks: what measuring gives is what the views can show."""

from __future__ import annotations

import json

import html5lib
import jsonschema
import pytest
import torch
from torch import nn

import fanin
from fanin.report import FORMATS, data_of, render
from fanin.report.schema import schema_text
from tests.selection import few


class Hostile(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({"<script>alert(1)</script>": nn.Linear(8, 8), "[red]\x1b[31m": nn.Linear(8, 3)})

    def forward(self, x):
        for layer in self.layers.values():
            x = layer(x).relu()
        return x


def deep() -> nn.Module:
    layers = [m for _ in range(12) for m in (nn.Linear(32, 32), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(32, 3))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(160, 3))


MODELS = {
    "deep": (deep, (16, 32)),
    "transformer": (transformer, (16, 10, 16)),
    "hostile": (Hostile, (16, 8)),
}


@pytest.fixture(scope="module")
def reports():
    made = {}
    for name, (make, shape) in MODELS.items():
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape, generator=generator)
        y = torch.randint(0, 3, (shape[0],), generator=generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = make()
        made[name] = fanin.check(model, x, targets=y)
    return made


@pytest.mark.parametrize("format_", few(FORMATS, every=2))
@pytest.mark.parametrize("name", MODELS)
def test_every_format_shows_a_real_report(reports, name, format_):
    text = render(reports[name].result, format_)
    assert all(char == "\n" or char.isprintable() for char in text)


@pytest.mark.parametrize("name", MODELS)
def test_real_reports_are_valid(reports, name):
    result = reports[name].result
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(json.loads(render(result, "json")))
    page = render(result, "html")
    html5lib.HTMLParser(strict=True).parse(page)
    assert data_of(page)["measurements"]["sites"]


def test_a_broken_network_shows_its_worst_finding_first(reports):
    report = reports["deep"]
    assert not report.ok
    page = render(report.result, "html")
    headline = page[page.index("<h1") : page.index("</h1>")]
    assert report.findings[0].name.replace("-", " ").capitalize() in headline
    assert "finding-1" in page


def test_a_notebook_shows_the_page(reports):
    assert reports["transformer"]._repr_html_().startswith("<iframe")
