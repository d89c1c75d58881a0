"""The page in a real browser: sorting, filtering, hiding, values on hover, download, a narrow screen."""

import shutil

import pytest
from synthetic_runs import write_run

from fuxi_mtl.comparison import compare, stored_runs
from fuxi_mtl.report import render, run_page

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install 'fuxi-mtl[browser-test]'"
)
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs Debian's chromium: apt-get install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]  # of a container
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for expid, skill in (("MMoE_toy", 1.2), ("PLE_<toy>", 1.4), ("worse", 0.3)):
        write_run(root, expid, skill=skill, weights=(1.4, 0.6))
    return compare(stored_runs(root), resamples=20)


@pytest.fixture
def page(browser, tables, tmp_path):
    (tmp_path / "page.html").write_text(render(tables, "html"), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.on("pageerror", lambda error: pytest.fail(str(error)))
    opened.on(
        "request", lambda asked: asked.url.startswith(("file:", "blob:", "data:")) or pytest.fail(asked.url)
    )
    opened.goto((tmp_path / "page.html").as_uri())
    yield opened
    opened.close()


def names(page):
    rows = page.locator("table").first.locator("tbody tr:visible th")
    return rows.all_inner_texts()


def test_a_click_sorts_by_the_better_end_and_another_turns_it(page):
    table = page.locator("table").first
    table.locator("thead button").nth(2).click()
    assert names(page) == ["PLE_<toy>", "MMoE_toy", "worse"]
    assert table.locator("th[aria-sort=descending]").count() == 1
    table.locator("thead button").nth(2).click()
    assert names(page) == ["worse", "MMoE_toy", "PLE_<toy>"]
    table.locator("thead button").nth(3).click()  # logloss, of which less is better
    assert table.locator("th[aria-sort=ascending]").count() == 1


def test_the_filter_leaves_rows_curves_and_names_that_match(page):
    page.get_by_label("Filter experiments by name").fill("TOY ple")
    assert names(page) == ["PLE_<toy>"]
    assert page.locator("output").inner_text() == "1 of 3"
    assert page.locator("g[data-run='1']").first.is_visible()
    assert page.locator("g[data-run='0']:visible").count() == 0
    assert page.locator(".key button[data-of]:visible").all_inner_texts() == ["PLE_<toy>"]
    page.get_by_label("Filter experiments by name").fill("")
    assert len(names(page)) == 3


def test_a_name_of_the_legend_hides_its_curves_everywhere_and_shows_them_again(page):
    button = page.locator(".key button[data-of='2']")
    before = page.locator("g[data-run='2']:visible").count()
    assert before > 5
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator("g[data-run='2']:visible").count() == 0
    button.click()
    assert page.locator("g[data-run='2']:visible").count() == before


def test_hovering_a_curve_tells_its_run_and_the_value_that_was_stored(page, tables):
    run = tables[0].runs[0]
    last = run.evaluations[-1]
    figure = page.locator("figure", has_text="A line for each run")
    panel = figure.locator(".panel", has_text="ctr_AUC").locator("> svg")
    panel.scroll_into_view_if_needed()
    point = panel.evaluate(
        """svg => { const inner = svg.querySelector("svg.in"), box = svg.getBoundingClientRect();
        const scale = box.width / svg.viewBox.baseVal.width;
        const line = inner.querySelector("g[data-run='0'] .c").getAttribute("d");
        const [x, y] = line.split("L").at(-1).split(" ");
        return [box.left + (+x + +inner.getAttribute("x")) * scale, box.top + (+y + 8) * scale]; }"""
    )
    page.mouse.move(*point)
    said = page.locator("#tip").inner_text()
    assert said.startswith("MMoE_toy, seed 1: ")
    value, step = said.removeprefix("MMoE_toy, seed 1: ").split(" at ")
    assert float(value) == pytest.approx(last["metrics"]["ctr_AUC"], abs=2e-5)
    assert float(step) == pytest.approx(last["step"], rel=1e-3)


def test_the_download_is_what_the_command_writes(page, tables):
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download csv").click()
    assert waiting.value.suggested_filename == "toy.csv"
    assert waiting.value.path().read_text() == render(tables, "csv")


def test_nothing_is_wider_than_the_window_be_it_wide_or_narrow(page, browser, tables, tmp_path):
    (tmp_path / "run.html").write_text(run_page.html(tables[0].runs[0]), encoding="utf-8")
    other = browser.new_page()
    other.goto((tmp_path / "run.html").as_uri())
    for each in (page, other):
        for width in (1440, 400):
            each.set_viewport_size({"width": width, "height": 900})
            cut = each.evaluate(
                "[...document.querySelectorAll('html, .card, figure')]"
                ".filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText.slice(0, 40))"
            )
            assert cut == []
    other.close()
