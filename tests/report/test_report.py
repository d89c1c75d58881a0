"""Renderings of a comparison."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from synthetic_runs import labels_of_test, write_run

from fuxi_mtl.comparison import compare, stored_runs
from fuxi_mtl.report import FORMATS, cells, facts, render


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two datasets; one experiment without scores, one with a metric that is undefined."""
    root = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        write_run(root, "Single_toy", seed, model="SingleTask", skill=1.0)
        write_run(root, "MMoE_<toy>", seed, skill=1.4, weights=(1.4, 0.6))
        write_run(root, "worse|toy", seed, skill=0.5, scores=False)
    labels = labels_of_test(500)
    labels["cvr"] = np.where(np.isnan(labels["cvr"]), labels["cvr"], np.float32(0))
    write_run(root, "MMoE_other", dataset_id="other", labels=labels)
    write_run(root, "PLE_other", dataset_id="other", labels=labels)
    return compare(stored_runs(root, ["Single_toy", "MMoE_<toy>", "worse|toy", "MMoE_other", "PLE_other"]))


@pytest.fixture(scope="module")
def page(tables):
    return render(tables, "html")


class Outline(HTMLParser):
    """Checks that tags close in order, and notes what a page asks for."""

    VOID = frozenset(("meta", "link", "br", "img", "input", "hr"))

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids, self.cells = [], [], [], 0

    def handle_startendtag(self, tag, attributes):
        self.note(attributes)

    def handle_starttag(self, tag, attributes):
        self.note(attributes)
        self.cells += tag == "td"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def note(self, attributes):
        for name, value in attributes:
            if name in ("src", "href", "xlink:href"):
                self.links.append(value)
            if name == "id":
                self.ids.append(value)


def test_the_terminal_marks_the_best_and_what_is_undefined(tables):
    text = render(tables, "terminal")
    assert re.search(r"MMoE_<toy> .*0\.\d{4} ± 0\.\d{4} ◂", text)
    assert re.search(r"MMoE_<toy> .*\+0\.\d{4} \[\+0\.\d{4}, \+0\.\d{4}\] \*", text)
    assert "worse|toy seed 1 has no saved test scores" in text
    assert "–" in text
    assert "\x1b[" not in text
    assert "\x1b[" in render(tables, "terminal", colour=True)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_terminal_keeps_whole_numbers_at_any_width(tables, width):
    text = render(tables, "terminal", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    numbers = set(re.findall(r"\d\.\d{4} ± \d\.\d{4}", render(tables, "terminal", width=400)))
    assert numbers == set(re.findall(r"\d\.\d{4} ± \d\.\d{4}", text))


def test_markdown_has_a_row_for_each_experiment_and_bold_bests(tables):
    text = render(tables, "markdown")
    lines = [line for line in text.splitlines() if line.startswith("| MMoE_<toy> ")]
    assert len(lines) == 2
    assert "**" in lines[0]
    assert "| worse\\|toy |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| MMoE_other ")}
    assert len(widths) == 1
    assert "### toy, test" in text
    assert "- 2 seeds say little about the spread; use at least 5." in text


def test_csv_keeps_full_precision_and_leaves_undefined_fields_empty(tables):
    records = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    assert [record["expid"] for record in records][:3] == ["Single_toy", "MMoE_<toy>", "worse|toy"]
    row = tables[0].rows[1]
    assert float(records[1]["ctr_AUC"]) == row.cells["ctr_AUC"].mean
    assert float(records[1]["ctr_AUC_low"]) == row.differences["ctr_AUC"].low
    assert float(records[1]["delta_m"]) == row.transfer.delta_m
    assert records[0]["ctr_AUC_difference"] == ""
    assert records[3]["cvr_AUC"] == ""
    assert records[3]["seeds"] == "1"


def test_names_in_csv_that_a_spreadsheet_would_run_are_texts_and_numbers_stay(tables):
    row = replace(tables[0].rows[1], expid="=1+1", model="@cmd")
    (found,) = csv.DictReader(io.StringIO(render([replace(tables[0], rows=(row,))], "csv")))
    assert (found["expid"], found["model"]) == ("'=1+1", "'@cmd")
    assert float(found["ctr_AUC_low"]) == row.differences["ctr_AUC"].low


def test_json_is_valid_and_holds_every_seed_and_reason(tables):
    content = json.loads(render(tables, "json"), parse_constant=pytest.fail)
    assert [table["dataset_id"] for table in content] == ["toy", "other"]
    row = content[0]["rows"][1]
    assert row["metrics"]["ctr_AUC"]["by_seed"].keys() == {"1", "2"}
    assert row["differences"]["ctr_AUC"]["low"] > 0
    undefined = content[1]["rows"][0]["metrics"]["cvr_AUC"]
    assert undefined["mean"] is None
    assert "labels are 0" in undefined["reason"]


def test_the_page_is_whole_and_asks_for_nothing(page):
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", page)
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)


def test_the_page_escapes_names_and_sorts_by_plain_numbers(tables, page):
    assert "MMoE_<toy>" not in page
    assert "MMoE_&lt;toy&gt;" in page
    mean = tables[0].rows[1].cells["ctr_AUC"].mean
    assert f'data-value="{mean}" class="best"' in page
    assert "labels are 0" in page


def test_the_page_draws_metrics_losses_weights_and_scores(page):
    for heading in (
        "Metrics by experiment",
        "Validation metrics over steps",
        "Training losses over steps",
        "ROC",
        "Precision and recall",
        "Calibration",
    ):
        assert page.count(f"<h3>{heading}</h3>") == 2
    # The weights of the second table never move.
    assert page.count("<h3>Loss weights over steps</h3>") == 1


def test_every_picture_has_a_caption_and_every_panel_a_text_in_its_place(page):
    assert page.count('<figure class="card"><figcaption>') == page.count("<figure")
    panels = re.findall(r'<svg xmlns="[^"]+" role="img" aria-label="([^"]+)"', page)
    assert len(panels) == page.count('<div class="panel">')
    assert "ctr_AUC: Single_toy seed 1 from 0." in " ".join(panels)


def test_the_page_leaves_out_pictures_that_have_no_data(tmp_path):
    for expid in ("a", "b"):
        folder = write_run(tmp_path, expid, scores=False)
        (folder / "history.json").unlink()
    page = render(compare(stored_runs(tmp_path)), "html")
    assert "over steps" not in page
    assert page.count("<figure") == 1


def test_the_page_holds_the_csv_as_the_command_writes_it(tables, page):
    held = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert [json.loads(text) for text in held] == [render([table], "csv") for table in tables]


def test_the_page_says_when_from_what_and_how_the_stanzas_differ(tmp_path):
    for expid, rate in (("a", 0.1), ("b", 0.1), ("c", 0.2)):
        folder = write_run(
            tmp_path, expid, data_key="feed" * 4, rows={"train": 80_000}, finished="2026-11-29T10:11:12"
        )
        (folder / "environment.json").write_text(json.dumps({"git_commit": "c0ffee" * 6}))
        own = {"gate": [8]} if expid == "a" else {}
        (folder / "config.yaml").write_text(
            yaml.safe_dump({"seed": 1, "learning_rate": rate, "epochs": 3, **own})
        )
    runs = stored_runs(tmp_path)
    assert facts.differences(runs) == {
        "learning_rate": {"0.1": ["a", "b"], "0.2": ["c"]},
        "gate": {"[8]": ["a"], "no such key": ["in 2 others"]},
    }
    label = labels_of_test()["cvr"]
    expected = (int(np.nansum(label)), int(np.isfinite(label).sum()))
    assert facts.positives(runs[0], "test")["cvr"] == expected
    page = render(compare(runs, resamples=0), "html")
    for text in (
        "2026-11-29T10:11",
        "c0ffeec0ff",
        "feedfeedfe",
        "80,000",
        f"{expected[0]:,} of {expected[1]:,}",
    ):
        assert text in page, text


def test_the_page_is_the_same_for_the_same_runs(tables, page):
    assert render(tables, "html") == page


def test_one_experiment_alone_renders_everywhere(tmp_path):
    write_run(tmp_path, "only", num_parameters=None, train_seconds=None, rows_per_second=None)
    for style in FORMATS:
        assert "only" in render(compare(stored_runs(tmp_path)), style)


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="unknown format 'htm'. Did you mean 'html'"):
        render([], "htm")


def test_numbers_are_short_but_not_blurred():
    assert cells.number(0.94812) == "0.9481"
    assert cells.number(0.00031234) == "0.000312"
    assert cells.number(12345.678) == "12345.7"
    assert cells.number(0.0) == "0.0000"
    assert cells.number(-0.00012, signed=True) == "-0.0001"
    assert cells.number(float("nan")) == "–"
