"""What a notebook shows: one line as text, and a table as HTML in which no name acts."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import fanin
from fanin.lab.compare import compare
from tests.selection import few


class Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


@pytest.fixture(scope="module")
def shown():
    """One of each value that a user meets, of a model with a hostile name."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("<script>alert(1)</script>", nn.Linear(16, 32))
    for i in range(12):
        model.add_module(f"act{i}", nn.Tanh())
        model.add_module(f"fc{i}", nn.Linear(32, 32))
    x = torch.randn(16, 16)
    plan = fanin.plan(model, x)
    found = fanin.check(model, x, trial=False)
    data = (torch.randn(32, 8).numpy(), (torch.arange(32) % 4).numpy())
    options = {"inits": {"a": None, "<b>": None}, "seeds": 1, "lrs": [0.1], "steps": 2, "batch_size": 8}
    return {
        "plan": plan,
        "assignment": plan["<script>alert(1)</script>.weight"],
        "finding": found.findings[0],
        "trial": plan.trial(model, x),
        "verification": plan.verify(model),
        "comparison": compare(lambda: nn.Linear(8, 4), data, progress=False, **options),
        "calibration": fanin.calibrate(model, x, dry_run=True),
        "certificate": fanin.fingerprint(model),
        "coordinate check": fanin.coordinate_check(
            lambda width: nn.Sequential(nn.Linear(8, width), nn.Linear(width, 4)), [8, 16], x[:, :8], steps=1, seeds=1
        ),
        "difference": plan.diff(model),
        "groups": fanin.param_groups(model, plan, 1e-3, base=model),
    }


NAMES = (
    "plan",
    "assignment",
    "finding",
    "trial",
    "verification",
    "comparison",
    "calibration",
    "certificate",
    "coordinate check",
    "difference",
    "groups",
)


@pytest.mark.parametrize("name", few(NAMES, every=2))
def test_a_value_is_one_line_and_a_table(shown, name):
    assert "\n" not in repr(shown[name])
    assert len(repr(shown[name])) < 400
    page = Parts()
    page.feed(shown[name]._repr_html_())
    assert page.tags.count("table") == 1
    assert set(page.tags) <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
