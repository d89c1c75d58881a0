"""The study of defaults on small data: what is thinned, what is chosen, and the tables."""

import polars as pl
import pytest

from benchmarks import small_data
from benchmarks.small_data import (
    BEFORE,
    HELD_OUT,
    POINTS,
    SEARCHED,
    TODAY,
    chosen,
    gains_of,
    point_name,
    section,
)


def cell(data: str, point, auc: float, seed: str = "1") -> dict:
    return {"data": data, "model": "ShareBottom", "point": point_name(point), "auc": {seed: auc}}


def searched(best) -> list[dict]:
    """Every point a little worse than the defaults of before, one a little better."""
    gain = {point_name(BEFORE): 0.0, point_name(best): 0.01}
    return [
        cell(data, point, 0.7 + gain.get(point_name(point), -0.01)) for data in SEARCHED for point in POINTS
    ]


def test_the_point_with_the_largest_mean_gain_is_chosen_and_only_of_a_whole_search():
    cells = searched(POINTS[-1])
    assert chosen(cells) == POINTS[-1]
    assert gains_of(cells, POINTS[-1])["world A"] == pytest.approx(0.01)
    with pytest.raises(ValueError, match="the search is not finished"):
        chosen(cells[:-1])


def test_what_is_held_out_was_not_searched():
    shipped = {each.shipped for each in SEARCHED.values() if each.shipped}
    assert not shipped & {each.shipped for each in HELD_OUT.values() if each.shipped}
    worlds = [tuple(each.world.items()) for each in [*SEARCHED.values(), *HELD_OUT.values()] if each.world]
    assert len(set(worlds)) == len(worlds) == 5


def test_training_rows_are_thinned_and_validation_rows_are_a_quarter_of_them(tmp_path, monkeypatch):
    for split, rows in (("train", 40_000), ("valid", 40_000), ("test", 100_000)):
        pl.DataFrame({"row": range(rows)}).write_parquet(tmp_path / f"{split}.parquet")
    monkeypatch.setattr(small_data, "located", lambda path: str(tmp_path / path))
    stanza = {f"{split}_data": f"{split}.parquet" for split in ("train", "valid", "test")}
    found = small_data._thinned(stanza, 2)
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 20_000,
        "valid": 5_000,
        "test": 25_000,
    }


def test_the_tables_have_the_gains_of_the_search_and_what_was_held_out():
    found = POINTS[-1]
    held = [
        {**cell("world D", point, 0.0), "auc": {"1": auc, "2": auc + 0.02}}
        for point, auc in ((BEFORE, 0.6), (TODAY, 0.62), (found, 0.63))
    ]
    baselines = {name: {"auc": 0.65, "rows": 9_800} for name in [*SEARCHED, "world D"]}
    content = {
        "machine": {"commit": "abc"},
        "searched": searched(found),
        "held_out": held,
        "baselines": baselines,
    }
    text = "\n".join(section(content))
    assert f"| {point_name(found)} | {' | '.join(['+0.0100'] * (len(SEARCHED) + 1))} |" in text
    assert (
        "| held out | training rows | batch_size 1024 | defaults | batch_size 32 | logistic regression |"
        in text
    )
    shown = "0.6100 ± 0.0141 | 0.6300 ± 0.0141 | 0.6400 ± 0.0141"
    assert f"| world D | 9,800 | {shown} | 0.6500 |" in text
