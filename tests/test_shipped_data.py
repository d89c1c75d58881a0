"""What the READMEs of `data/` say of the files, and what the shipped configuration makes of them."""

import gzip
import itertools
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from fuxi_mtl.config import available, load_experiments
from fuxi_mtl.registry import import_zoo

import_zoo()

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
SHARED = Path(os.environ.get("FUXI_MTL_DATASETS", ROOT.parent / "shared" / "datasets"))
SHIPPED = {"census_income": "parquet", "complete_journey": "parquet", "tiny_mtl": "csv"}
SPLITS = ("train", "valid", "test")
SPLITS_OF = [(dataset, split) for dataset in SHIPPED for split in SPLITS]
JOURNEY = ("label_type_bought", "label_product_bought", "label_qty2")
FUNNEL = ("click", "cart", "conversion")


@cache
def read(dataset: str, split: str) -> pl.DataFrame:
    file = DATA / dataset / f"{split}.{SHIPPED[dataset]}"
    return pl.read_csv(file) if file.suffix == ".csv" else pl.read_parquet(file)


def shared(folder: str) -> Path:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED} has no {folder}: it holds the raw data, which are not in this repository.")
    return SHARED / folder


@cache
@cache
def experiments() -> list:
    return load_experiments(ROOT / "config", available(ROOT / "config").expids)


def experiments_on(*datasets: str) -> list:
    return [each for each in experiments() if each.options.dataset_id in datasets]


def prepare(dataset: str, *arguments: str | Path) -> None:
    script = DATA / dataset / "prepare.py"
    subprocess.run([sys.executable, script, *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def table_of(readme: str) -> dict[str, list[int]]:
    """The whole numbers of the README's first table, by split; its shares and bounds are left out."""
    rows = re.findall(r"^\| (train|valid|test)\.\w+ \|(.+)\|$", readme, re.MULTILINE)
    cells = {split: [cell.split("(")[0].strip() for cell in row.split("|")] for split, row in rows}
    return {
        split: [int(cell.replace(",", "")) for cell in row if re.fullmatch(r"[\d,]+", cell)]
        for split, row in cells.items()
    }


# ---- what the READMEs say -----------------------------------------------------------------------


@pytest.mark.parametrize("dataset", SHIPPED)
def test_every_dataset_has_a_readme_with_source_licence_and_schema_and_its_script(dataset):
    readme = (DATA / dataset / "README.md").read_text(encoding="utf-8")
    for heading in ("## Source and licence", "## Schema", "## How it was prepared", "## Cautions"):
        assert heading in readme
    assert (DATA / dataset / "prepare.py").is_file()


@pytest.mark.parametrize(("dataset", "split"), SPLITS_OF)
def test_every_column_is_in_the_schema_of_the_readme(dataset, split):
    readme = (DATA / dataset / "README.md").read_text(encoding="utf-8")
    schema = readme.split("## Schema")[1].split("\n## ")[0]
    described = set(
        re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in re.findall(r"^\|.+$", schema, re.M)))
    )
    assert described == set(read(dataset, split).columns)


@pytest.mark.parametrize(
    ("dataset", "labels"), [("census_income", ("income_50k", "never_married")), ("complete_journey", JOURNEY)]
)
def test_rows_and_positives_are_those_of_the_readme(dataset, labels):
    told = table_of((DATA / dataset / "README.md").read_text(encoding="utf-8"))
    for split in SPLITS:
        frame = read(dataset, split)
        assert told[split] == [frame.height, *(frame[label].sum() for label in labels)]


def test_rows_positives_and_missing_labels_of_tiny_mtl_are_those_of_the_readme():
    told = table_of((DATA / "tiny_mtl" / "README.md").read_text(encoding="utf-8"))
    for split in SPLITS:
        frame = read("tiny_mtl", split)
        unknown, known = frame["conversion"].null_count(), frame["watch_time"].count()
        assert told[split] == [frame.height, *(frame[label].sum() for label in FUNNEL), unknown, known]


def test_shipped_files_are_small_enough_to_clone():
    for dataset, ending in SHIPPED.items():
        assert sum(file.stat().st_size for file in (DATA / dataset).glob(f"*.{ending}")) < 6_000_000


# ---- the data themselves ------------------------------------------------------------------------


def test_census_income_is_complete_and_its_test_file_is_halved():
    heights = [read("census_income", split).height for split in SPLITS]
    assert heights == [199_523, 49_881, 49_881]


def test_census_income_has_no_column_that_gives_a_label_away():
    columns = read("census_income", "train").columns
    assert not {"marital_stat", "instance_weight"} & set(columns)
    assert len(columns) == 39 + 2


def test_census_income_has_stripped_texts_and_nulls_instead_of_question_marks():
    texts = read("census_income", "train").select(pl.col(pl.String))
    assert texts.select(pl.all().str.contains(r"^\s|\s$|^\?$").any()).row(0) == (False,) * texts.width
    assert texts["mig_chg_msa"].null_count() == 99_696


def test_census_income_rates_are_the_published_ones():
    train = read("census_income", "train")
    held_out = pl.concat([read("census_income", "valid"), read("census_income", "test")])
    assert round(100 * train["income_50k"].mean(), 3) == 6.206
    assert round(100 * held_out["income_50k"].mean(), 3) == 6.201
    assert round(100 * train["never_married"].mean(), 2) == 43.35
    assert round(100 * held_out["never_married"].mean(), 2) == 43.25


def test_complete_journey_has_every_exposure_and_its_weeks_do_not_overlap():
    weeks = [
        (frame["week"].min(), frame["week"].max())
        for frame in (read("complete_journey", split) for split in SPLITS)
    ]
    assert sum(read("complete_journey", split).height for split in SPLITS) == 176_614
    assert weeks == [(9, 43), (44, 47), (48, 53)]


@pytest.mark.parametrize(("dataset", "labels"), [("complete_journey", JOURNEY), ("tiny_mtl", FUNNEL)])
@pytest.mark.parametrize("split", SPLITS)
def test_a_deeper_event_never_happens_without_the_one_before(dataset, labels, split):
    frame = read(dataset, split)
    for shallow, deep in itertools.pairwise(labels):
        assert frame.filter((pl.col(deep) == 1) & (pl.col(shallow) != 1)).height == 0
        assert frame[deep].sum() > 0


@pytest.mark.parametrize("split", SPLITS)
def test_tiny_mtl_knows_watch_times_of_clicked_rows_only_and_lacks_some(split):
    frame = read("tiny_mtl", split)
    assert frame.filter(pl.col("watch_time").is_not_null() & (pl.col("click") == 0)).height == 0
    assert frame.filter(pl.col("watch_time").is_null() & (pl.col("click") == 1)).height > 0
    assert frame.filter(pl.col("conversion").is_null() & (pl.col("click") == 0)).height == 0


@pytest.mark.parametrize("split", SPLITS)
def test_tiny_mtl_has_a_weight_for_each_tag_and_missing_inputs(split):
    frame = read("tiny_mtl", split)
    tags, weights = (frame[name].str.split("^").list.len() for name in ("tags", "tag_weights"))
    assert (tags == weights).all()
    assert tags.max() == 4
    for column in ("device", "age", "price", "recent_items"):
        assert 0 < frame[column].null_count() < frame.height


def test_tiny_mtl_has_items_that_training_has_not_seen():
    seen = set(read("tiny_mtl", "train")["item_id"])
    assert set(read("tiny_mtl", "test")["item_id"]) - seen


# ---- the scripts --------------------------------------------------------------------------------


def test_tiny_mtl_is_made_again_byte_for_byte(tmp_path):
    prepare("tiny_mtl", tmp_path)
    for split in SPLITS:
        assert (tmp_path / f"{split}.csv").read_bytes() == (DATA / "tiny_mtl" / f"{split}.csv").read_bytes()


def test_tiny_mtl_of_another_seed_is_another_world(tmp_path):
    prepare("tiny_mtl", tmp_path, "--seed", "1")
    assert (tmp_path / "train.csv").read_bytes() != (DATA / "tiny_mtl" / "train.csv").read_bytes()


@pytest.mark.parametrize(
    ("dataset", "raw"),
    [("census_income", "census_income_kdd"), ("complete_journey", "complete_journey_small")],
)
def test_the_script_makes_the_shipped_rows_from_the_raw_files(dataset, raw, tmp_path):
    prepare(dataset, shared(raw), tmp_path)
    for split in SPLITS:
        assert pl.read_parquet(tmp_path / f"{split}.parquet").equals(read(dataset, split))


def test_the_script_of_census_income_reads_plain_and_packed_files_and_says_what_is_missing(tmp_path):
    person = ["x"] * 42
    for column in (0, 2, 3, 5, 16, 17, 18, 30, 36, 38, 39, 40):
        person[column] = "7"
    line = ", ".join(person).encode() + b"\n"
    (tmp_path / "census-income.data").write_bytes(line)
    result = subprocess.run(
        [sys.executable, DATA / "census_income" / "prepare.py", tmp_path, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert f"{tmp_path} has neither census-income.test nor census-income.test.gz." in result.stderr
    (tmp_path / "census-income.test.gz").write_bytes(gzip.compress(line * 3))
    prepare("census_income", tmp_path, tmp_path)
    assert [pl.read_parquet(tmp_path / f"{split}.parquet").height for split in SPLITS] == [1, 1, 2]


# ---- the configuration --------------------------------------------------------------------------


def test_every_shipped_dataset_has_a_stanza_and_experiments():
    for dataset in SHIPPED:
        assert experiments_on(dataset)


@pytest.mark.parametrize("dataset", SHIPPED)
def test_every_configured_column_is_in_the_files_and_no_label_is_an_input(dataset):
    for experiment in experiments_on(dataset):
        inputs = {str(column.name) for column in experiment.dataset.feature_cols if column.type != "meta"}
        bags = {column.weights for column in experiment.dataset.feature_cols if column.weights}
        labels = {label.name for label in experiment.dataset.label_col}
        for split in SPLITS:
            assert inputs | bags | labels <= set(read(dataset, split).columns)
        assert not labels & inputs


def test_census_income_uses_every_column_that_is_shipped():
    (experiment, *_) = experiments_on("census_income")
    inputs = {str(column.name) for column in experiment.dataset.feature_cols}
    assert inputs == set(read("census_income", "train").columns) - {"income_50k", "never_married"}


def test_the_trip_is_carried_along_in_complete_journey_but_is_no_input():
    (experiment, *_) = experiments_on("complete_journey")
    inputs = {str(column.name) for column in experiment.dataset.feature_cols if column.type != "meta"}
    assert not {"basket_id", "week"} & inputs


def test_a_task_name_means_the_same_event_in_all_experiments_of_complete_journey():
    meanings: dict[str, set[str]] = {}
    for experiment in experiments_on("complete_journey"):
        for task in experiment.tasks:
            meanings.setdefault(task.name, set()).add(task.expression)
    assert all(len(expressions) == 1 for expressions in meanings.values())


def test_every_model_of_the_zoo_has_an_experiment_on_tiny_mtl():
    from fuxi_mtl import registry

    models = {each.options.model for each in experiments_on("tiny_mtl")}
    shipped = {name for name in registry.names() if registry.model(name).__module__.startswith(registry.ZOO)}
    assert models == shipped


def test_no_outcome_of_kuairand_is_an_input():
    for experiment in experiments_on("kuairand_pure", "kuairand_pure_chain"):
        inputs = {str(column.name) for column in experiment.dataset.feature_cols}
        outcomes = {"play_time_ms", "profile_stay_time", "comment_stay_time", "is_forward", "is_hate"}
        assert not inputs & (outcomes | {label.name for label in experiment.dataset.label_col})


def test_every_configured_column_of_kuairand_is_in_its_file():
    columns = set(pl.read_parquet_schema(shared("kuairand_pure_late") / "impressions.parquet"))
    for experiment in experiments_on("kuairand_pure", "kuairand_pure_chain"):
        assert {str(column.name) for column in experiment.dataset.feature_cols} <= columns
        assert {label.name for label in experiment.dataset.label_col} <= columns
