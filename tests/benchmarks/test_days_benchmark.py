"""The benchmark of days: numbers of seeds and days, and what is told of new items."""

import numpy as np
import pytest

from benchmarks import days
from benchmarks.plots import _days


def cells():
    for seed in (1, 2):
        for way, better in zip(days.WAYS, (0.1, 0.05, 0.0), strict=True):
            for day in (1, 2, 3):
                auc = 0.6 + better + 0.01 * seed + 0.1 * (day == 1)
                numbers = {"auc": auc, "auc_old": auc, "auc_new": None if day == 2 else 0.5}
                numbers |= {f"logloss{end}": 0.3 for end in ("", "_old", "_new")}
                about = {"world": "drift", "seed": seed, "way": way, "day": day, "rows": 100, "new_rows": day}
                yield {**about, **numbers, "seconds": 2.0, "train_seconds": 1.0}


def test_the_first_day_is_shown_and_not_averaged():
    lines = days.section({"cells": list(cells())})
    [update] = [line for line in lines if line.startswith("| update | 0.715")]
    assert "| 0.7150 ± 0.0071 | 0.7150 ± 0.0071 | 0.5000 ± 0.0000 |" in update
    assert update.endswith("| 1.0 | 2.0 |")
    [by_day] = [line for line in lines if line.startswith("| update | 0.8150")]
    assert by_day.count("±") == 3
    assert any(line.startswith("| rows with new items | 1 of 100 | 2 of 100 | 3 of 100") for line in lines)
    assert len(_days({"cells": list(cells())}).axes) == 1


def test_rows_of_one_kind_of_label_have_no_number():
    one = np.array([1, 1]), np.array([0.2, 0.4])
    assert days._measured(*one, "_new") == {"auc_new": None, "logloss_new": None}
    found = days._measured(np.array([0, 1]), np.array([0.2, 0.4]), "")
    assert found == {"auc": 1.0, "logloss": pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)}
