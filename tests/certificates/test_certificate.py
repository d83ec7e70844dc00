"""Certificates as text and data: they are read back, compared, merged, and what is wrong with the parts is named."""

import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

import fanin
from fanin.certificates.certificate import Certificate, Entry
from fanin.commands.app import app
from fanin.errors import CertificateError

LANE = st.integers(0, (1 << 64) - 1)
ENTRY = st.builds(
    lambda name, dtype, shape, count, lanes, part: Entry(
        name=name, dtype=dtype, shape=tuple(shape), count=count, lanes=lanes, part=part
    ),
    st.text(min_size=1),
    st.sampled_from(["float32", "bfloat16"]),
    st.lists(st.integers(0, 9), max_size=3),
    st.integers(0, 99),
    st.tuples(LANE, LANE),
    st.sampled_from(["whole", "0-2,0-4", "flat 3-9"]),
)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def half(low, high, lanes, **changes):
    whole = {
        "name": "w",
        "dtype": "float32",
        "shape": (4,),
        "count": high - low,
        "part": f"{low}-{high}",
        "lanes": lanes,
    }
    return Certificate((Entry(**whole | changes),))


@given(st.lists(ENTRY, max_size=5, unique_by=lambda e: (e.name, e.part)))
def test_text_gives_the_certificate_back(entries):
    made = Certificate(tuple(sorted(entries, key=lambda e: (e.name, e.part))))
    assert Certificate.of_text(made.text()) == made
    assert len(made.text().splitlines()) == len(entries) + 1


@given(st.text())
def test_any_other_text_is_refused(text):
    with pytest.raises(CertificateError):
        Certificate.of_text(text)


@pytest.mark.parametrize(
    "line", ['{"name": "w"}', "[]", "3", '{"name": "w", "dtype": "f", "shape": [-1], "count": 1, "lanes": "0"}']
)
def test_a_line_that_is_no_entry_is_refused(line):
    with pytest.raises(CertificateError, match="cut"):
        Certificate.of_text(json.dumps({"form": "fanin-cert/1"}) + "\n" + line)


def test_another_form_is_named():
    with pytest.raises(CertificateError, match="fanin-cert/9"):
        Certificate.of_text('{"form": "fanin-cert/9"}')


def test_equal_numbers_give_equal_text_and_one_changed_bit_does_not():
    one, two = fanin.fingerprint(model()), model()
    assert one.text() == fanin.fingerprint(two).text()
    assert one.digest == fanin.fingerprint(two).digest
    with torch.no_grad():
        two[2].weight.view(torch.int32)[1, 3] ^= 1
    (found,) = one.diff(fanin.fingerprint(two))
    assert (found.name, found.quantity) == ("2.weight", "values")


def test_what_differs_is_said():
    one = fanin.fingerprint(model())
    other = nn.Sequential(nn.Linear(3, 4, dtype=torch.float64), nn.ReLU(), nn.Linear(4, 3), nn.Linear(1, 1))
    says = {d.name: d.quantity for d in one.diff(fanin.fingerprint(other))}
    assert says == {
        "0.weight": "dtype",
        "0.bias": "dtype",
        "2.weight": "shape",
        "2.bias": "shape",
        "3.weight": "parameter",
        "3.bias": "parameter",
    }


def test_a_tied_parameter_has_a_line_for_each_name_and_nothing_changes():
    tied = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    tied["b"].weight = tied["a"].weight
    before = {n: (p.detach().clone(), p._version) for n, p in tied.named_parameters()}
    names = [e.name for e in fanin.fingerprint(tied).entries]
    assert names == ["a.bias", "a.weight", "b.bias", "b.weight"]
    assert all(torch.equal(p, before[n][0]) and p._version == before[n][1] for n, p in tied.named_parameters())


def test_wrappers_add_nothing_and_rename_gives_the_names_of_the_whole():
    plain = model()
    assert fanin.fingerprint(nn.DataParallel(plain)) == fanin.fingerprint(plain)
    stage = nn.Sequential(plain[2])
    part = fanin.fingerprint(stage, rename={"0.weight": "2.weight", "0.bias": "2.bias"})
    assert set(part.entries) < set(fanin.fingerprint(plain).entries)


def test_names_of_the_user_stay():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)
            self._orig_mod_weight = nn.Parameter(torch.zeros(2))

    names = {e.name for e in fanin.fingerprint(nn.DataParallel(torch.compile(Own(), backend="eager"))).entries}
    assert names == {"module.weight", "module.bias", "_orig_mod_weight"}


def test_what_holds_no_numbers_is_named():
    for made, why in (
        (nn.Linear(2, 2, device="meta"), "meta"),
        (nn.LazyLinear(2), "shape"),
    ):
        with pytest.raises(CertificateError, match=rf"weight .*{why}"):
            fanin.fingerprint(made)
    with pytest.raises(CertificateError, match="init_process_group"):
        fanin.fingerprint(model(), gather=True)


# ---------------------------------------------------------------------- parts
def test_parts_are_added():
    merged = Certificate.merge([half(0, 2, (1, 2)), half(2, 4, (3, 4)), half(2, 4, (3, 4))])
    assert merged.entries[0].lanes == (4, 6)
    assert merged.is_whole


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([half(0, 2, (1, 2))], "w: the parts hold 2 of its 4 numbers"),
        ([half(0, 2, (1, 2)), half(0, 3, (1, 2))], "w: the parts hold 5 of its 4 numbers"),
        ([half(0, 2, (1, 2)), half(2, 4, (1, 2)), half(2, 4, (1, 3))], "part 2-4 in process 1 and process 2 differ"),
        ([half(0, 4, (1, 2), part="whole"), half(0, 4, (1, 3), part="whole")], "copies in process 0 and process 1"),
        ([half(0, 2, (1, 2)), half(2, 4, (1, 2), dtype="bfloat16")], "processes say"),
    ],
)
def test_parts_that_contradict_each_other_are_named(parts, says):
    with pytest.raises(CertificateError, match="1 fault in") as caught:
        Certificate.merge(parts)
    assert says in str(caught.value)


def test_a_part_is_not_compared():
    part = half(0, 2, (1, 2))
    for use in (lambda: part.digest, lambda: part.diff(part)):
        with pytest.raises(CertificateError, match="fanin cert merge"):
            use()


# ---------------------------------------------------------------------- command line
@pytest.fixture
def run():
    return lambda *words: CliRunner().invoke(app, [str(w) for w in words])


def test_the_command_line_makes_merges_and_compares(run, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\ndef build():\n    torch.manual_seed(0)\n    return torch.nn.Linear(3, 2)\n"
    )
    a, b, c = (tmp_path / f"{n}.txt" for n in "abc")
    assert run("cert", "make", f"{tmp_path / 'net.py'}:build", "--out", a).exit_code == 0
    assert run("cert", "merge", a, a, "--out", b).exit_code == 0
    same = run("cert", "diff", a, b)
    assert (same.exit_code, same.output) == (0, "the same numbers\n")
    Certificate(half(0, 4, (1, 2), part="whole").entries).save(c)
    other = run("cert", "diff", a, c)
    assert other.exit_code == 1
    assert re.search(r"^weight +parameter +present +missing$", other.output, re.MULTILINE)
    assert "3 of 3 parameters differ" in other.output
    names = {d["name"] for d in json.loads(run("cert", "diff", a, c, "--format", "json").output)}
    assert names == {"weight", "bias", "w"}
    assert run("cert", "make", f"{tmp_path / 'net.py'}:build").output == a.read_text()


def test_a_folder_is_verified(run, tmp_path):
    plan = fanin.plan(model(), recipe="torch", seed=3)
    plan.save(tmp_path / "plan.json")
    plan.write(tmp_path / "weights")
    good = run("verify", tmp_path / "weights", "--plan", tmp_path / "plan.json")
    assert (good.exit_code, "4 parameters bit for bit" in good.output) == (0, True)
    (file,) = (tmp_path / "weights").glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    bad = run("verify", tmp_path / "weights", "--plan", tmp_path / "plan.json")
    assert (bad.exit_code, "1 departure" in bad.output) == (1, True)
    said = json.loads(run("verify", tmp_path / "weights", "--plan", tmp_path / "plan.json", "--format", "json").output)
    assert (said["ok"], len(said["departures"])) == (False, 1)
