"""A plan is read from a file, or one of our errors says which field of which assignment is wrong; never anything else.

Files are mutated from real plans: values of every kind put in the place of others, fields taken away, doubled and
renamed, bytes flipped. Whatever loads can be printed, compared, explained, verified and applied without a foreign
exception, and nothing that it holds acts on a terminal.
"""

from __future__ import annotations

import copy
import json
import math
import random
import re
import sys

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import FaninError, MissingFileError, PlanError

ESCAPE = "\x1b[31mred\x1b]0;title\x07\r\n\u202e"
# fmt: off
VALUES = [
    None, True, False, 0, -1, 1, 2, 3.5, -0.5, 1e308, -1e308, 5e-324, 10**30, -(10**30), 1 << 63,
    (1 << 64) - 1, 1 << 64,
    "", "x", "weight", "0.weight", "a\0b", "\ud800", ESCAPE, "9" * 400, "draw", "keep", "derive", "float32",
    [], [0], [-1], [1.5], [[1]], ["a"], [None], [10**30], [1e308], [3, 4], [2] * 40, {}, {"a": 1},
    {"initializer": "Normal"}, {"initializer": "Normal", "std": 1e308}, {"initializer": "Nothing"},
    {"initializer": "Orthogonal", "gain": "x"},
    {"initializer": "Scaled", "law": {"initializer": "Normal", "std": 0.1}, "factor": 1e75}, {"initializer": []},
    {"initializer": "PerPart", "laws": [{"initializer": "Zeros"}] * 3}, {"initializer": "PerPart", "laws": 3},
    {"initializer": "FromArray", "data": "AAAA", "dtype": "float32", "size": [1]},
    {"initializer": "FromArray", "data": "", "dtype": "O", "size": [0]}, {"initializer": "Constant", "value": 10**40},
    {"initializer": "Sparse", "kept": 0.5}, {"initializer": "Uniform", "bound": 1e40},
    {"initializer": "TruncatedNormal", "std": 1e-300, "lower": -1e-300, "upper": 1e70},
    {"out_axes": [1], "in_axes": [0]}, {"groups": 3}, {"parts": [1, 2]}, {"stride": [2]}, {"quantity": "std"},
    {"quantity": "std", "value": [1]}, {"quantity": ESCAPE, "value": ESCAPE, "formula": ESCAPE, "source": ESCAPE},
]
# fmt: on


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.LSTM(6, 3, batch_first=True),
    )


@pytest.fixture(scope="module")
def plans():
    laws = {"0.weight": fanin.initializers.Scaled(fanin.initializers.Orthogonal(), 0.5), "4.weight": "sparse_torch"}
    live = model()
    made = [
        fanin.plan(live, recipe="torch"),
        fanin.plan(live, recipe="torch", overrides={"0.weight": laws["0.weight"]}),
        fanin.plan(live, recipe="keep"),
        fanin.plan(live, torch.zeros(2, 2, 4, 4), recipe="auto", on_unknown="keep"),
    ]
    return [p.to_dict() for p in made]


def places(value, path=()):
    """Every place in a document, as a path of keys."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from places(child, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def mutated(rng, document):
    """The document with one to three changes, as the bytes of a file."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        path = rng.choice(list(places(document)))
        if not path:
            continue
        owner, key = at(document, path[:-1]), path[-1]
        change = rng.choice(["value", "value", "near", "near", "near", "delete", "double", "rename", "swap"])
        if change == "delete":
            del owner[key]
        elif change == "double" and isinstance(owner, list):
            owner.append(copy.deepcopy(owner[key]))
        elif change == "rename" and isinstance(owner, dict):
            owner[rng.choice(["x", "name", "shape", "value", ESCAPE])] = owner.pop(key)
        elif change == "near":
            alike = [v for v in (at(document, p) for p in places(document)) if type(v) is type(owner[key])]
            owner[key] = copy.deepcopy(rng.choice(alike + [v for v in VALUES if type(v) is type(owner[key])]))
        elif change == "swap":
            owner[key] = copy.deepcopy(at(document, rng.choice(list(places(document)))))
        else:
            owner[key] = copy.deepcopy(rng.choice(VALUES))
    data = json.dumps(document).encode()
    if rng.random() < 0.1:
        spot = rng.randrange(len(data))
        data = data[:spot] + rng.choice([b"", b"\xff", b"}", b"NaN", b"1" * 5000, b"[" * 3000]) + data[spot + 1 :]
    return data


def use(plan, other, live):
    """Whatever can be done with a plan; returns what is printed of it. Our own errors are answers."""
    seen = []
    for job in (
        lambda: str(plan),
        lambda: plan.explain(next(iter(plan))),
        lambda: "".join(map(plan.explain, plan)),
        lambda: str(plan.diff(other)),
        lambda: str(other.diff(plan)),
        lambda: json.dumps(plan.diff(other).to_dict()),
        lambda: str(plan.diff(live)),
        lambda: str(plan.verify(live)) and "",
        lambda: str(plan.apply_(live)) and "",
        lambda: plan.to_json() and "",
        lambda: str(plan["no such name"]),
        lambda: shown_table(plan),
    ):
        try:
            seen.append(job())
        except FaninError:
            continue
        except StopIteration:  # a plan of nothing
            assert not plan
    return seen


def shown_table(plan):
    from rich.console import Console

    from fanin.planning.view import PlanView

    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(PlanView(plan))
    return capture.get()


def campaign(plans, tmp_path, count, seed):
    """(loaded, refused) over so many mutated files; any foreign exception ends it."""
    rng, live = random.Random(seed), model()
    before = {n: p.detach().clone() for n, p in live.named_parameters()}
    refused, loaded = [], 0
    path = tmp_path / "plan.json"
    for number in range(count):
        source = rng.choice(plans)
        data = mutated(rng, source)
        path.write_bytes(data)
        try:
            plan = fanin.Plan.load(path)
        except FaninError as error:
            refused.append(str(error))
            continue
        except BaseException as error:
            raise AssertionError(f"file {number}: {type(error).__name__}: {error}\n{data[:3000]!r}") from error
        loaded += 1
        try:
            seen = use(plan, fanin.Plan.from_dict(source), live)
        except BaseException as error:
            raise AssertionError(f"file {number}: {type(error).__name__}: {error}\n{data[:6000]!r}") from error
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\ud800]", "".join(seen)), data
        if number % 50 == 0:
            for n, p in live.named_parameters():
                p.data.copy_(before[n])
    assert all("plan.json" in words and words.isprintable() for words in refused)
    return loaded, len(refused)


def test_a_hundred_mutated_plans_give_our_errors_or_plans_that_work(plans, tmp_path):
    outcome = campaign(plans, tmp_path, 100, seed=0)
    assert min(outcome) > 15, outcome


@pytest.mark.slow
def test_two_thousand_mutated_plans_give_our_errors_or_plans_that_work(plans, tmp_path):
    outcome = campaign(plans, tmp_path, 2000, seed=1)
    assert min(outcome) > 300, outcome


def test_the_campaign_sees_a_foreign_error(plans, tmp_path, monkeypatch):
    """The twin: a reader that checks no types lets foreign errors through, and the campaign says so."""
    from fanin.planning import assignment

    monkeypatch.setattr(assignment, "read_fields", lambda cls, data, readers=None: dict(data))
    with pytest.raises(AssertionError, match=r"file \d+: \w+Error"):
        campaign(plans, tmp_path, 100, seed=0)


def changed(plans, path, value):
    document = copy.deepcopy(plans[0])
    at(document, path[:-1])[path[-1]] = value
    return document


CASES = {
    ("assignments", 1, "shape"): (
        ["a"],
        r"assignment 2 \('0.bias'\): field 'shape' must be a list of \(a whole number\)",
    ),
    ("assignments", 1, "shape", 0): (-1, r"assignment 2 \('0.bias'\): field 'shape' must hold sizes >= 0"),
    ("assignments", 0, "std"): ("x", r"assignment 1 \('0.weight'\): field 'std' must be a finite number or null"),
    ("assignments", 0, "fan_in"): (-1.0, "field 'fan_in' must not be negative"),
    ("assignments", 0, "action"): ("drop", "field 'action' must be one of 'draw', 'keep', 'derive'; got 'drop'"),
    ("assignments", 0, "initializer"): (
        {"initializer": "Normal", "std": "x"},
        "field 'initializer': field 'std' must be",
    ),
    ("assignments", 0, "layout"): ({"groups": 0}, "field 'layout': groups and bag must be >= 1"),
    ("assignments", 0, "steps"): ([{"quantity": "std"}], "field 'steps': Step needs"),
    ("assignments", 0, "name"): ("a\0b", "names hold no NUL character"),
    ("assignments", 0): (3, "assignment 1: a mapping of the fields of Assignment is needed; got 3"),
    ("assignments",): ({}, "field 'assignments' must be a list"),
    ("seed",): (-1, "field 'seed' must be a whole number with 0 <= seed"),
    ("model",): (None, "field 'model' must be text"),
    ("warnings",): ("x", "field 'warnings' must be a list"),
    ("more",): (1, r"PlanData has no field \['more'\]|Plan has no field \['more'\]"),
    ("schema",): ("fanin-plan/0", "not a plan of schema 'fanin-plan/1' or 'fanin-plan/2': got 'fanin-plan/0'"),
    ("extras",): ({"a": math.inf}, "Infinity is no number in JSON"),
    ("options",): ({"a": 10**40}, "is no finite number"),
}


@pytest.mark.parametrize("path", CASES, ids=str)
def test_the_message_names_file_assignment_and_field(plans, tmp_path, path):
    value, words = CASES[path]
    (tmp_path / "p.json").write_text(json.dumps(changed(plans, path, value)))
    with pytest.raises(PlanError, match=words) as error:
        fanin.Plan.load(tmp_path / "p.json")
    assert "p.json" in str(error.value)


def test_a_name_in_two_assignments_is_refused(plans, tmp_path):
    document = copy.deepcopy(plans[0])
    document["assignments"].append(copy.deepcopy(document["assignments"][1]))
    with pytest.raises(PlanError, match=r"'0.bias' is already named by assignment 2; keep one"):
        fanin.Plan.from_dict(document)
    document["assignments"].pop()
    document["assignments"][0]["aliases"] = ["0.bias"]
    with pytest.raises(PlanError, match="already named by assignment 1"):
        fanin.Plan.from_dict(document)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe{}", "byte 0 is not UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested more than 64 deep"),
        (b"1" * 5000, "no JSON"),
        (b'{"schema": 1, "schema": 2}', "appears twice"),
        (b"null", "a plan is a mapping; got None"),
        (b"[]", "a plan is a mapping"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"\x00" * 100, "no JSON"),
    ],
    ids=range(11),
)
def test_what_is_no_plan_at_all_is_refused(tmp_path, data, words):
    (tmp_path / "p.json").write_bytes(data)
    with pytest.raises(PlanError, match=words):
        fanin.Plan.load(tmp_path / "p.json")


def test_a_file_that_is_not_there_or_a_folder_is_said(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file"):
        fanin.Plan.load(tmp_path / "p.json")
    with pytest.raises(FileNotFoundError):
        fanin.Plan.load(tmp_path / "p.json")
    with pytest.raises(FaninError, match="cannot be read: Is a directory"):
        fanin.Plan.load(tmp_path)


def test_line_ends_of_other_systems_and_white_space_make_no_difference(plans, tmp_path):
    plan = fanin.Plan.from_dict(plans[0])
    (tmp_path / "p.json").write_bytes(plan.to_json().replace("\n", "\r\n").encode() + b"\r\n \t")
    assert fanin.Plan.load(tmp_path / "p.json") == plan


def test_real_plans_come_back_as_they_were(plans, tmp_path):
    for document in plans:
        plan = fanin.Plan.from_dict(document)
        plan.save(tmp_path / "p.json")
        assert fanin.Plan.load(tmp_path / "p.json") == plan
        assert plan.to_dict() == document


def test_nothing_that_a_file_says_acts_on_a_terminal(plans):
    document = copy.deepcopy(plans[0])
    for path in list(places(document)):
        value = at(document, path)
        if isinstance(value, str):
            at(document, path[:-1])[path[-1]] = value + ESCAPE
            try:
                fanin.Plan.from_dict(document)
            except FaninError:  # a word of a fixed set
                at(document, path[:-1])[path[-1]] = value
    document["warnings"] = [ESCAPE]
    plan, live = fanin.Plan.from_dict(document), model()
    seen = "".join(use(plan, fanin.Plan.from_dict(plans[0]), live))
    assert "\\x1b[31mred" in seen
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", seen)


def calls(run):
    """How many Python functions a run calls."""
    count = 0

    def counted(frame, event, arg):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def of_many(plans, count):
    """A document with so many assignments."""
    document = copy.deepcopy(plans[0])
    one = document["assignments"][0]
    return {**document, "assignments": [{**one, "name": f"{i}.weight"} for i in range(count)]}


def test_reading_costs_the_same_for_each_assignment_however_many_there_are(plans):
    documents = {n: of_many(plans, n) for n in (1, 101, 401)}
    fanin.Plan.from_dict(documents[1])  # what reads a class is made once
    one, few, many = (calls(lambda d=d: fanin.Plan.from_dict(d)) for d in documents.values())
    assert abs((many - one) / 400 - (few - one) / 100) < 1
    assert (few - one) / 100 < 300


def test_the_count_sees_work_that_grows_with_the_square(plans, monkeypatch):
    plain = fanin.planning.assignment.Assignment.from_dict
    seen = []

    def slow(data):
        seen.append(data)
        return [plain(data) for _ in seen][-1]

    monkeypatch.setattr(fanin.planning.assignment.Assignment, "from_dict", slow)
    few, many = of_many(plans, 20), of_many(plans, 80)
    fewer = calls(lambda: fanin.Plan.from_dict(few))
    seen.clear()
    assert calls(lambda: fanin.Plan.from_dict(many)) > 6 * fewer
