"""The interactive page in a real browser without a network: Chromium, driven by playwright."""

from __future__ import annotations

import json

import pytest

from fanin.report.playground import playground_page
from tests.chromium import chromium

pytestmark = pytest.mark.slow
DEEP = "#depth=20&width=64&activation=relu&law="
LONGEST = 120_000  # milliseconds that a training may take on a busy machine; how long it took is not asserted


@pytest.fixture(scope="module")
def browser():
    with chromium("the interactive page") as opened:
        yield opened


class Visit:
    """A page opened offline, with all that it asked for and complained of."""

    def __init__(self, browser, file, *, hash_="", width=1280, **options) -> None:
        self.context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, **options)
        self.page, self.requests, self.errors = self.context.new_page(), [], []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.goto(file.as_uri() + hash_)
        self.wait_for("html[data-redraw]")

    def set(self, **settings):
        return self.page.evaluate("(next) => fanin.set(next)", settings)

    def wait_for(self, selector, timeout=30_000):
        """Wait for an element; the policy of the page forbids the polling of a JavaScript condition."""
        self.page.wait_for_selector(selector, state="attached", timeout=timeout)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("playground") / "page.html"
    path.write_text(playground_page(), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser, file):
    made = []

    def start(**options):
        made.append(Visit(browser, file, **options))
        return made[-1]

    yield start
    for one in made:
        one.context.close()
        assert not one.errors
        assert [u.partition("#")[0] for u in one.requests if not u.startswith("blob:")] == [file.as_uri()]


def test_every_story_is_told_without_a_request_or_an_error(visit):
    page = visit()
    verdicts = {}
    for button in page.page.query_selector_all("#presets button"):
        button.click()
        page.wait_for(f"button[data-preset={button.get_attribute('data-preset')}][aria-pressed=true]")
        assert page.page.locator("#story-text p").count() == 3
        verdicts[button.get_attribute("data-preset")] = page.page.get_attribute("#verdict", "class").split()[1]
    assert len(verdicts) == 9
    assert {verdicts[n] for n in ("zeros", "too-small", "relu-two")} == {"broken"}
    assert {verdicts[n] for n in ("residual", "mirrored", "norm")} == {"fine"}


def test_every_activation_and_architecture_is_drawn_at_depth_60(visit):
    page = visit()
    names = page.page.eval_on_selector_all("#activation option", "options => options.map(o => o.value)")
    times = {name: page.set(depth=60, width=64, law="variance_scaling", activation=name) for name in names}
    for norm, residual in (("layer", "none"), ("rms", "sum"), ("none", "scaled")):
        for law in ("he_normal", "orthogonal", "mirrored_orthogonal", "zeros", "normal"):
            page.set(activation="gelu", norm=norm, residual=residual, law=law, scale=3.0)
            assert "NaN" not in page.page.inner_html("#signal") + page.page.inner_html("#gradient")
    print("milliseconds of a redraw:", json.dumps(times))
    assert len(times) == 14


def test_no_axis_says_the_same_twice(visit):
    page = visit()
    for scale in (0.1, 1.0, 1.02, 10.0):
        page.set(scale=scale, law="he_normal", depth=30)
        for chart in ("signal", "gradient", "likeness"):
            labels = page.page.eval_on_selector_all(f"#{chart} text[text-anchor=end]", "t => t.map(e => e.textContent)")
            assert len(labels) >= 2
            assert len(labels) == len(set(labels))


def test_the_address_holds_the_settings(visit):
    page = visit(hash_="#depth=33&law=orthogonal&activation=tanh&width=999&norm=wrong")
    settings = page.page.evaluate("fanin.get()")
    assert (settings["depth"], settings["law"], settings["activation"], settings["width"]) == (
        33,
        "orthogonal",
        "tanh",
        128,
    )
    assert settings["norm"] == "none"
    page.page.select_option("#norm", "rms")
    address = page.page.evaluate("location.hash")
    assert "norm=rms" in address
    assert "depth=33" in address


def test_the_keyboard_moves_a_slider_and_the_result_is_announced(visit):
    page = visit(hash_="#depth=20&law=he_normal")
    page.page.focus("#depth")
    page.page.keyboard.press("ArrowRight")
    page.wait_for("#depth[aria-valuetext='21 layers']")
    assert page.page.inner_text("#depth-value") == "21 layers"
    assert page.page.get_attribute("#verdict", "aria-live") == "polite"
    assert "layer 21" in page.page.get_attribute("#signal svg", "aria-label")


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (800, "light"), (1280, "dark")])
def test_nothing_is_wider_than_the_window(visit, width, scheme):
    page = visit(width=width, color_scheme=scheme, reduced_motion="reduce")
    page.page.click("summary >> text=Show numbers")
    page.wait_for("#numbers tbody tr")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.page.locator("#numbers tbody tr").count() == 10


@pytest.mark.parametrize(("law", "learns"), [("he_normal", True), ("normal", False)])
def test_it_trains_on_the_digits(visit, law, learns):
    page = visit(hash_=DEEP + law)
    page.page.click("#train")
    page.wait_for("html[data-trained]", timeout=LONGEST)
    found = page.page.evaluate("JSON.parse(document.documentElement.dataset.trained)")
    print(law, found)
    assert found["accuracy"] > 0.9 if learns else found["accuracy"] < 0.2
    assert page.page.locator("#runs tbody tr").count() == 1
