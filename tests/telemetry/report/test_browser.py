"""The page in a real browser: it needs no network, does what it says, and texts of strangers stay texts."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import anyio
import attrs
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from crucible.telemetry.loading import LoadedRun, load_run
from crucible.telemetry.report import render_report, write_report
from crucible.telemetry.series import series_of
from tests.telemetry.made import COMPLETED, FAILED, HOSTILE, effect, hostile_run, loaded, long_run, points, train

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: apt-get install chromium"),
]


@attrs.frozen
class Opened:
    """A page in the browser, and what it did that it should not."""

    page: Page
    complaints: list[str]
    requests: list[str]


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    contexts = []

    def open_page(html: str, *, viewport: Mapping[str, int] = DESKTOP, **options: object) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport=dict(viewport), **options)  # type: ignore[arg-type]  # a TypedDict of theirs
        contexts.append(context)
        page = context.new_page()
        complaints: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return Opened(page, complaints, requests)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> list[LoadedRun]:
    """Two real runs, and what they kept; made in a thread, for Playwright's event loop holds this one."""
    folder = tmp_path_factory.mktemp("runs")

    async def load(run_id: str) -> LoadedRun:
        return (await load_run(run_id, runs=folder)).unwrap()

    def make(seed: int) -> LoadedRun:
        train(folder, f"talk_{seed}", seed=seed)
        return anyio.run(load, f"talk_{seed}")

    with ThreadPoolExecutor(1) as thread:
        return list(thread.map(make, (0, 1)))


@pytest.fixture(scope="module")
def talk_page(talks: list[LoadedRun]) -> str:
    return render_report(talks)


def numbers_of(path: str | None) -> int:
    return len(re.findall("[ML]", path or ""))


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


# What a reader sees


def test_the_page_loads_nothing_and_complains_of_nothing(opened: Open, talk_page: str) -> None:
    it = opened(talk_page)
    assert it.complaints == []
    assert [url for url in it.requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in it.requests if url.startswith("file:")]) == 1


def test_every_metric_that_changes_has_a_chart_with_a_line_for_each_run_and_all_its_points(
    opened: Open, talk_page: str, talks: list[LoadedRun]
) -> None:
    page = opened(talk_page).page
    series = [series_of(run.points) for run in talks]
    changing = {
        name for each in series for name in each if len({value for it in series for value in it[name].values}) > 1
    }
    assert {"loss", "grad_norm", "learning_rate"} <= changing
    figures = page.locator("figure.chart")
    assert set(figures.locator("figcaption span").all_text_contents()) == changing
    for figure in figures.all():
        name = figure.locator("figcaption span").inner_text()
        drawn = figure.locator(".linear-view path.curve")
        assert [numbers_of(path.get_attribute("d")) for path in drawn.all()] == [len(each[name]) for each in series]


def test_pointing_at_a_chart_shows_the_values_there(opened: Open, talk_page: str, talks: list[LoadedRun]) -> None:
    page = opened(talk_page).page
    figure = page.locator("figure.chart", has=page.get_by_text("loss", exact=True)).first
    svg = figure.locator("svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert box is not None
    assert figure.locator(".readout").is_hidden()
    page.mouse.move(box["x"] + box["width"] * 408 / 420, box["y"] + box["height"] / 2)
    said = figure.locator(".readout").inner_text()
    for run in talks:
        loss = series_of(run.points)["loss"]
        assert f"step {loss.steps[-1]}" in said
        assert f"{loss.values[-1]:.5g}" in said
        assert run.run_id in said
    assert figure.locator("circle").count() == 2
    page.mouse.move(0, 0)
    assert figure.locator(".readout").is_hidden()


def test_arrow_keys_read_a_chart_step_by_step(opened: Open, talk_page: str) -> None:
    page = opened(talk_page).page
    figure = page.locator("figure.chart", has=page.get_by_text("loss", exact=True)).first
    figure.locator("svg").focus()
    page.keyboard.press("ArrowRight")
    assert "step 1\n" in figure.locator(".readout").inner_text()
    page.keyboard.press("ArrowRight")
    assert "step 2\n" in figure.locator(".readout").inner_text()
    page.keyboard.press("Escape")
    assert figure.locator(".readout").is_hidden()


def test_touching_a_chart_on_a_phone_shows_the_values_there(opened: Open, talk_page: str) -> None:
    page = opened(talk_page, viewport=PHONE, has_touch=True, is_mobile=True).page
    figure = page.locator("figure.chart").first
    figure.locator("svg").scroll_into_view_if_needed()
    figure.locator("svg").tap()
    assert "step" in figure.locator(".readout").inner_text()
    assert overflow(page) == 0


def test_a_log_scale_is_offered_where_it_shows_more(opened: Open) -> None:
    told = [*points("loss", [1000.0, 10.0, 1.0]), *points("flat", [1.0, 1.1], first=10)]
    page = opened(render_report([loaded(COMPLETED, told)])).page
    [button] = page.get_by_role("button", name="log").all()
    figure = page.locator("figure.chart", has=button)
    assert figure.locator(".log-view path.curve").is_hidden()
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert figure.locator(".log-view path.curve").is_visible()
    assert figure.locator(".linear-view path.curve").is_hidden()
    assert "100" in figure.locator("g.log-view.grid").text_content()  # type: ignore[operator]  # a text, or this fails


def test_values_that_are_not_finite_are_gaps_with_a_mark(opened: Open) -> None:
    told = points("loss", [3.0, 2.0, float("nan"), 1.0, float("inf"), 0.5, 0.4])
    it = opened(render_report([loaded(COMPLETED, told)]))
    figure = it.page.locator("figure.chart")
    assert (figure.locator(".linear-view path.curve").get_attribute("d") or "").count("M") == 3
    assert (figure.locator("path.odd").get_attribute("d") or "").count("M") == 2
    assert "2 not finite" in figure.inner_text()
    figure.locator("svg").focus()
    for _ in range(3):
        it.page.keyboard.press("ArrowRight")
    assert "NaN" in figure.locator(".readout").inner_text()
    assert it.complaints == []


def test_it_reads_without_javascript(opened: Open, talk_page: str) -> None:
    page = opened(talk_page, java_script_enabled=False).page
    assert page.locator("figure.chart path.curve").first.is_visible()
    assert page.get_by_role("button", name="log").count() == 0
    for words in ("talk_0", "completed", "Numbers", "forward_backward", "learning_rate"):
        assert page.get_by_text(words).first.is_visible()


def test_headings_are_in_order_and_charts_and_bars_have_words(opened: Open, talk_page: str) -> None:
    page = opened(talk_page).page
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(it => Number(it.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.evaluate("[...document.querySelectorAll('svg')].every(it => it.getAttribute('aria-label'))")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.evaluate("[...document.querySelectorAll('nav a')].every(it => document.querySelector(it.hash))")


def test_a_failed_run_says_where_and_why_and_calls_are_a_waterfall(opened: Open) -> None:
    calls = [effect(10 + n, f"sft/b[{n % 3}]/f/#{n}", "Training.forward", 0.2 + n / 100) for n in range(9)]
    page = opened(render_report([loaded([*FAILED, *calls], points("loss", [1.0, 2.0]))])).page
    assert page.locator(".state").inner_text() == "failed in sft/load"
    assert page.locator(".why").inner_text() == "no rows in 'talk'"
    assert "stage sft/load failed: no rows" in page.locator("#problems").inner_text()
    assert page.locator("#stages path.broken").count() == 1
    assert page.locator("#effects .time li").count() == 3
    assert page.locator("#effects tbody").first.locator("tr").count() == 1


def test_two_runs_show_where_their_settings_differ_first(opened: Open, talk_page: str) -> None:
    page = opened(talk_page).page
    different = page.locator("#configuration table").first
    assert "seed" in different.inner_text()
    assert "batch_size" not in different.inner_text()
    assert page.locator("#configuration details").first.get_attribute("open") is None


# Looks

CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((it) => it / 255).map((it) => it <= .04045 ? it / 12.92 : ((it + .055) / 1.055) ** 2.4);
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const ground = (node) => {
    for (let it = node; it; it = it.parentElement) {
      const color = parse(getComputedStyle(it).backgroundColor);
      if (color.length < 4 || color[3] > 0.99) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.textContent.trim() || ["SCRIPT", "STYLE"].includes(node.tagName) || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(node.closest("svg") ? style.fill : style.color)), light(ground(node))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) found.push(`${text.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(opened: Open, talk_page: str, scheme: str) -> None:
    assert opened(talk_page, color_scheme=scheme).page.evaluate(CONTRAST) == []
    failed = render_report(
        [loaded(FAILED, points("loss", [1.0, float("nan"), 2.0])), loaded(COMPLETED[:2], run_id="b")]
    )
    assert opened(failed, color_scheme=scheme).page.evaluate(CONTRAST) == []


def test_dark_mode_changes_the_colours(opened: Open, talk_page: str) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        page = opened(talk_page, color_scheme=scheme).page
        colours = "['body', 'path.curve'].map((it) => getComputedStyle(document.querySelector(it)))"
        seen[scheme] = page.evaluate(
            f"(([body, curve]) => [body.backgroundColor, body.color, curve.stroke])({colours})"
        )
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))


@pytest.mark.parametrize("width", [390, 320, 768, 1920])
def test_the_page_never_scrolls_sideways(opened: Open, talk_page: str, width: int) -> None:
    assert overflow(opened(talk_page, viewport={"width": width, "height": 800}).page) == 0
    assert overflow(opened(render_report([hostile_run()]), viewport={"width": width, "height": 800}).page) == 0


# Strangers


def test_hostile_texts_stay_texts(opened: Open) -> None:
    html = render_report([hostile_run(), loaded(COMPLETED, run_id=HOSTILE[4])], title=HOSTILE[0])
    it = opened(html)
    assert it.page.evaluate("window.hacked") is None
    assert it.complaints == []
    assert [url for url in it.requests if not url.startswith(("file:", "data:"))] == []
    assert it.page.locator("img").count() == 0
    assert it.page.locator("[onload], [onerror]").count() == 0
    assert it.page.title() == f"{HOSTILE[0]} · Crucible"
    said = it.page.locator("body").inner_text()
    assert all(text in said for text in HOSTILE[:5])
    assert "1337" not in said
    figure = it.page.locator("figure.chart").first
    figure.locator("svg").focus()
    it.page.keyboard.press("ArrowRight")
    assert it.page.evaluate("window.hacked") is None
    assert it.complaints == []


def test_a_script_that_got_into_the_page_all_the_same_would_not_run(opened: Open, talk_page: str) -> None:
    smuggled = talk_page.replace("</main>", "<script>window.hacked = 1</script></main>")
    assert opened(smuggled).page.evaluate("window.hacked") is None


# Size


def test_a_run_of_20_000_steps_is_a_small_page_that_opens_at_once(opened: Open, tmp_path: Path) -> None:
    run = long_run(20_000)
    begun = time.perf_counter()
    size = write_report([run], tmp_path / "deep" / "long.html")
    written = time.perf_counter() - begun
    assert size == (tmp_path / "deep" / "long.html").stat().st_size < 300_000
    assert written < 30
    begun = time.perf_counter()
    it = opened((tmp_path / "deep" / "long.html").read_text())
    assert it.page.locator("figure.chart").count() == 2
    assert time.perf_counter() - begun < 5
    assert it.complaints == []
    assert numbers_of(it.page.locator("path.curve").first.get_attribute("d")) <= 1502
