"""Each experiment shows its claim: the quick ones are run, and the committed numbers of all are held to it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from fanin.errors import UnknownNameError
from fanin.lab.experiments import EXPERIMENTS, Settings, load, run

COMMITTED = Path(__file__).parents[2] / "docs" / "lab"


@pytest.fixture(params=sorted(EXPERIMENTS))
def committed(request):
    data = json.loads((COMMITTED / f"{request.param}.json").read_text(encoding="utf-8"))
    return request.param, data


def numbers(name):
    return json.loads((COMMITTED / f"{name}.json").read_text(encoding="utf-8"))["numbers"]


def test_every_experiment_has_its_figure_numbers_and_paragraph(committed):
    name, data = committed
    assert data["experiment"] == name
    assert data["title"] == load(name).TITLE
    assert len(data["text"]) > 100
    assert (COMMITTED / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_unknown_experiment_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'he-depth'"):
        load("he-dept")


# ------------------------------------------------------------------ claims, as functions of an experiment's numbers
def claim_one_third(n):
    classic, glorot = n["laws"].values()
    for ratio in classic["ratios"]:
        assert ratio["forward"] == pytest.approx(1 / 3, abs=0.03)
        assert ratio["backward"] == pytest.approx(1 / 3, abs=0.03)
    for ratio in glorot["ratios"]:
        assert ratio["forward"] == pytest.approx(1, abs=0.1)
        assert ratio["backward"] == pytest.approx(1, abs=0.1)


def claim_transfer(n):
    wide = {r["start"]: r for r in n["rows"] if r["size"] == max(n["sizes"])}
    groups = wide["auto + groups"]
    assert groups["loss"] <= 0.32
    assert groups["regret"] <= 0.05
    assert abs(groups["octaves"]) <= 1.0
    assert all(groups["loss"] < row["loss"] for start, row in wide.items() if start != "auto + groups")
    assert wide["default"]["octaves"] <= -3.0


def claim_depth_transfer(n):
    deep = {r["start"]: r for r in n["rows"] if r["size"] == max(n["sizes"])}
    plain, _, folded = deep.values()
    assert abs(folded["octaves"]) <= 1.0
    assert folded["regret"] <= 0.02 < plain["regret"]
    assert folded["loss"] < plain["loss"]


def claim_calibrate(n):
    default, repaired, auto, again = n["starts"].values()
    assert default["final_loss"] > 2.2, "dead: the loss of a guess is ln 10 = 2.30"
    assert max(repaired["final_losses"]) <= 0.5
    assert auto["final_loss"] <= repaired["final_loss"], "a repair, not a gain over a planned start"
    assert not any(again["changed"])
    assert again["final_losses"] == auto["final_losses"]
    assert default["rms"][-1] < 0.1 < 0.5 < min(repaired["rms"])


def claim_symmetry(n):
    zeros, constant, plain, zero_head = n["starts"].values()
    for equal in (zeros, constant):
        assert equal["distinct_before"] == equal["distinct_after"] == 1
    for random in (plain, zero_head):
        assert random["distinct_after"] == n["hidden_units"]
        assert random["held_out_accuracy"] > 0.85


def claim_saturation(n):
    assert f"{n['derivative']['2']:.3g}" == "0.105"
    assert f"{n['derivative']['10']:.3g}" == "4.54e-05"
    for share in n["shares"].values():
        # 512 x 1000 pairs; the units share each input, so the share's error is that of 512 draws: 5 standard errors
        for measured, expected in zip(share["measured"], share["expected"], strict=True):
            assert measured == pytest.approx(expected, abs=5 * 0.5 / math.sqrt(512))
    assert n["four_times"]["4 x Glorot"][-1] > 100 * n["four_times"]["Glorot"][-1]


def claim_three_scales(n):
    small, he, large = n["scales"].values()

    def over_depth(scale):
        return scale["layers"][-1]["activation_std"] / scale["layers"][0]["activation_std"]

    assert over_depth(small) < 1e-2 < 0.3 < over_depth(he) < 3 < 10 < over_depth(large)
    assert he["held_out_accuracy"] > 0.85 > 0.2 > small["held_out_accuracy"]


def claim_he_depth(n):
    held = {(v["task"], v["init"]): v["score"] for v in n["verdicts"]}
    deep = "30 ReLU layers"
    assert held[deep, "Glorot"] == pytest.approx(n["chance"], abs=0.05)
    assert held[deep, "He"] > n["chance"] + 0.1
    assert held[deep, "fanin auto"] > 0.8


def claim_too_small(n):
    small, he = n["laws"].values()
    assert small[-1]["gradient_over_weight"][0] < 1e-6 < 1e-3 < he[-1]["gradient_over_weight"][0]
    assert small[-1]["steps_until_moved"] is None
    assert he[-1]["steps_until_moved"] < 50


def claim_first_steps(n):
    limit = n["limit"]
    assert len(n["runs"]) == 6
    for row in n["runs"]:
        moved = row["distance"][row["steps"].index(20)]
        assert (1e-4 < moved < limit / 3) == row["healthy"]
        assert (row["found"] == []) == row["healthy"]
        assert row["held_out_accuracy"] is None or row["held_out_accuracy"] > 0.9 or not row["healthy"]


def claim_input_scale(n):
    best = {v["task"]: v for v in n["verdicts"]}
    assert best["raw"]["lr"] <= best["standardised"]["lr"] / 10
    assert best["standardised"]["score"] > best["raw"]["score"]


def claim_batchnorm(n):
    share = n["share_that_works"]
    for depth in (3, 10):
        assert share[f"{depth} layers, BatchNorm"] > 1.2 * share[f"{depth} layers, plain"]


def claim_pretraining(n):
    scores = {(v["task"], v["init"]): v["score"] for v in n["verdicts"]}
    assert min(scores.values()) > 0.5
    assert n["updates_of_pretraining"] * 2 == n["updates_in_all"]


def claim_distance(n):
    rows = [r for r in n["runs"] if r["relative"]]
    at_he = min(rows, key=lambda r: abs(r["factor"] - 1))
    assert rows[0]["relative"][1] > 10 * at_he["relative"][1]


def claim_magic_number(n):
    inside = [m["one_is_inside"] for m in n["models"].values()]
    assert sum(inside) >= len(inside) - 1


def claim_isometry(n):
    for kinds in n["spectra"].values():
        assert kinds["orthogonal"]["relative_variance"] < 0.5 < kinds["gaussian"]["relative_variance"]
    verdicts = {v["init"]: v for v in n["training"][0]["verdicts"]}
    assert verdicts["orthogonal"]["final_loss"] < verdicts["gaussian"]["final_loss"]


CLAIMS = {name: globals()["claim_" + name.replace("-", "_")] for name in EXPERIMENTS}


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_the_committed_numbers_show_the_claim(name):
    CLAIMS[name](numbers(name))


def test_a_claim_can_fail():
    broken = numbers("one-third")
    next(iter(broken["laws"].values()))["ratios"][0]["forward"] = 0.5
    with pytest.raises(AssertionError):
        claim_one_third(broken)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one-third", "symmetry"])
def test_a_fresh_run_shows_the_claim(name, tmp_path):
    outcome = run(name, Settings(seed=1, workers=1))
    CLAIMS[name](outcome.numbers)
    picture, kept = outcome.save(tmp_path)
    assert picture.stat().st_size > 10_000
    assert json.loads(kept.read_text(encoding="utf-8"))["numbers"] == json.loads(json.dumps(outcome.numbers))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(EXPERIMENTS) - {"one-third", "symmetry"}))
def test_a_fresh_run_of_a_long_experiment_shows_the_claim(name):
    CLAIMS[name](run(name).numbers)


# ------------------------------------------------------------------ parts of the experiments, by themselves
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mean_squared_singular_value_of_a_critical_stack_is_one(seed):
    """Were q* not 1 / depth, it would be off by a factor of up to e²."""
    values = load("isometry").jacobian_singular_values("orthogonal", 30, seed)
    assert 0.5 < (values**2).mean() < 2.0
    assert (values**2).var() < 0.5 * (values**2).mean() ** 2


@pytest.mark.parametrize(
    ("losses", "basin"),
    [
        ([2.3, 1.0, 0.10, 0.12, 2.3], [2, 3]),
        ([0.12, 0.11, 0.10, 2.0, 0.10], [0, 2]),  # one beyond a wall is not in it
        ([2.0, 2.0, 0.30, 0.10, 0.11], [2, 4]),
        ([0.10, 2.0, 2.0, 2.0, 0.10], [0, 0]),
    ],
)
def test_a_basin_is_what_lies_together_around_the_best(losses, basin):
    """Within a tenth of the way from the best loss to ln 10."""
    factors = [0.25, 0.5, 1.0, 2.0, 4.0]
    found = load("magic-number")._basin(factors, losses)
    assert found["basin"] == [factors[i] for i in basin]
    assert found["one_is_inside"] == (basin[0] <= 2 <= basin[1])


def test_the_figure_of_gradients_over_weights_shows_every_point():
    drawn = load("too-small")._draw(numbers("too-small"))
    for ax in drawn.axes[:2]:
        low, high = ax.get_ylim()
        shown = [y for line in ax.lines for y in line.get_ydata() if y > 0]
        assert shown
        assert low <= min(shown)
        assert max(shown) <= high


@pytest.mark.slow
def test_matplotlib_is_imported_to_draw_and_not_before():
    code = (
        "import sys\nfrom fanin.lab.experiments import EXPERIMENTS, load\n"
        "for name in EXPERIMENTS: load(name)\nassert 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
