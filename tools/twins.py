"""The twin of each rule's example: the same model with one thing right, on which the rule is silent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fanin.rules.base import Rule

__all__ = ["TWINS", "Twin", "example", "source"]


@dataclass(frozen=True, slots=True)
class Twin:
    """What differs from the example.

    Attributes:
        wrong: text that is once in the example.
        right: what stands there in the twin; "" where the line or the words are left out.
    """

    wrong: str
    right: str

    @property
    def words(self) -> str:
        """One sentence for the page."""
        if not self.right:
            return f"Without `{self.wrong.strip(', ')}` the rule is silent."
        return f"With `{self.right}` in place of `{self.wrong}` the rule is silent."


_TEN = "torch.randint(0, 10, "

TWINS: Mapping[str, Twin] = {
    "D103": Twin('float("nan")', "0.0"),
    "D101": Twin("torch.randint(0, 256, (32, 20)).float()", "(torch.randint(0, 256, (32, 20)) - 127.5) / 74"),
    "D102": Twin("5 + 0.1 * torch.randn(32, 20)", "2 + torch.randn(32, 20)"),
    "D104": Twin("1e4 * torch.randn(32, 1)", "10 * torch.randn(32, 1)"),
    "P504": Twin('float("nan")', "0.0"),
    "P507": Twin("3e30", "3.0"),
    "P508": Twin("normal_(model[0].weight[110:])", "normal_(model[0].weight[110:], std=0.06)"),
    "P509": Twin("torch.zeros(16)", "torch.ones(16)"),
    "P501": Twin("nn.init.constant_(layer.weight, 0.05)", "nn.init.normal_(layer.weight, std=0.05)"),
    "P503": Twin("-6.0", "-0.5"),
    "P502": Twin("mul_(30)", "mul_(1.2)"),
    "P505": Twin("copy.deepcopy(first)", "nn.Linear(32, 32)"),
    "P511": Twin("c.weight = b.weight", ""),
    "P510": Twin("_ = model[2].requires_grad_(False)", ""),
    "P512": Twin("[nn.Linear(32, 32), nn.Linear(32, 32)]", "nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 32)])"),
    "P506": Twin("std=2.0", "std=0.125"),
    "N601": Twin(f"torch.randn(4, 32), targets={_TEN}(4,))", f"torch.randn(16, 32), targets={_TEN}(16,))"),
    "N602": Twin("std=1e-4", "std=0.1"),
    "S207": Twin(".relu().log()", ".relu().add(0.1).log()"),
    "S201": Twin("std=0.01", "std=0.125"),
    "S202": Twin("std=1.0", "std=0.125"),
    "A302": Twin("std=2.0", "std=0.15"),
    "A301": Twin("-2.0", "-0.1"),
    "A303": Twin("weight[:32]", "weight[:4]"),
    "S203": Twin("nn.Sigmoid()", "nn.Tanh()"),
    "S204": Twin("std=0.265", "std=0.115"),
    "S205": Twin("range(12)", "range(3)"),
    "S206": Twin("std=4.0", "std=0.125"),
    "G401": Twin(".relu().detach()", ".relu()"),
    "G402": Twin("nn.init.zeros_(parameter)", "nn.init.normal_(parameter, std=0.1)"),
    "G403": Twin("nn.init.zeros_(model[2].weight)", "nn.init.normal_(model[2].weight, std=0.1)"),
    "G404": Twin("nn.Sigmoid()", "nn.Tanh()"),
    "T701": Twin("mul_(10)", "mul_(1)"),
    "T702": Twin("x = torch.softmax", "x = x + torch.softmax"),
    "L802": Twin(", nn.Softmax(-1)", ""),
    "L801": Twin("std=0.5", "std=0.02"),
    "O901": Twin("lr=0.5", "lr=1e-3"),
    "O902": Twin("std=1e4", "std=0.1"),
    "W905": Twin("lr=1e30", "lr=0.3"),
    "W901": Twin("lr=0.3", "lr=1e-3"),
    "W904": Twin("lr=100.0", "lr=0.3"),
    "W906": Twin("(model(x) + 100)", "(model(x) + 1)"),
    "W907": Twin("loss.backward()", "optimizer.zero_grad(); loss.backward()"),
    "W908": Twin("gamma=0.1", "gamma=0.9"),
    "W909": Twin("model[2].reset_parameters()", "_ = model[2].weight.data.mul_(0.999)"),
    "W902": Twin("lr=1e-7", "lr=1e-3"),
    "D105": Twin("torch.full((64,), 3)", "torch.randint(0, 10, (64,))"),
    "L804": Twin("(model(x) - y)", "(model(x)[:, 0] - y)"),
    "L803": Twin("lambda out: -nn", "lambda out: nn"),
    "W910": Twin("model[2].parameters()", "model.parameters()"),
    "W911": Twin(".eval()", ".train()"),
    "W912": Twin("in range(2)", "in range(1)"),
    "W913": Twin("weight_decay=1.0", "weight_decay=5e-4"),
    "W914": Twin("nn.Dropout(0.99)", "nn.Dropout(0.1)"),
    "W903": Twin(
        "torch.randn(512, 32), torch.randint(0, 10, (512,))", "(x := torch.randn(512, 32)), x[:, :10].argmax(1)"
    ),
}


def example(rule: Rule) -> str:
    """The session of a rule's docstring."""
    found = re.search(r"^Example:\n((?:    .*\n?|\n)+)", rule.page(), flags=re.MULTILINE)
    return found[1] if found else ""


def source(rule: Rule) -> str:
    """The session of a rule's twin.

    Raises:
        ValueError: the example has not once what the twin changes.
    """
    text, twin = example(rule), TWINS[rule.code]
    if text.count(twin.wrong) != 1:
        raise ValueError(
            f"the example of {rule.code} has {text.count(twin.wrong)} times {twin.wrong!r}; once is needed"
        )
    changed = text.replace(twin.wrong, twin.right)
    return re.sub(r"^ *(>>>|\.\.\.) *\n", "", changed, flags=re.MULTILINE)
