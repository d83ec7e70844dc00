"""Data sent to one of several experts: those that get few or none of a batch are neither dead nor lost."""

from __future__ import annotations

import torch
from torch import nn

import fanin


class Experts(nn.Module):
    def __init__(self, reads_all=False, count=6):
        super().__init__()
        self.gate, self.head, self.reads_all = nn.Linear(16, count), nn.Linear(16, 4), reads_all
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16)) for _ in range(count)
        )

    def forward(self, x):
        if self.reads_all:
            return self.head(x + self.experts[0](x) + self.experts[1](x))
        weights = self.gate(x).softmax(-1)
        best = weights.argmax(-1)
        best = torch.where(best > 2, 2, best)  # nobody is sent to the last three
        out = torch.zeros_like(x)
        for i in best.unique().tolist():
            mine = (best == i).nonzero()[:, 0]
            out = out.index_add(0, mine, self.experts[i](x[mine]) * weights[mine, i : i + 1])
        return self.head(x + out)


def above_a_note(model):
    report = fanin.check(model, torch.randn(48, 16), targets=torch.arange(48) % 4, trial=False)
    return {f.code for f in (*report.findings, *report.consequences) if f.severity != "note"}


def test_experts_without_data_are_a_note():
    torch.manual_seed(0)
    assert not {"G401", "A301"} & above_a_note(Experts())


def test_items_that_no_batch_reaches_are_still_told():
    torch.manual_seed(0)
    assert "G401" in above_a_note(Experts(reads_all=True))
