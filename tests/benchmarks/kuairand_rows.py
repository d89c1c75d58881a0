"""A few impressions and histories as KuaiRand has them, in a folder that benchmarks take for the real one."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import public_data, zoo_rows

LABELS = ("is_click", "long_view")  # a network is the faster made the fewer there are
WHOLE = ("user_id", "video_id", "author_id", "tab")
USERS, VIDEOS, ROWS = 12, 8, 360


def write_kuairand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """Writes both files, and has the shipped stanza read them with few columns; returns the impressions."""
    rng = np.random.default_rng(3)
    video = rng.integers(0, VIDEOS, ROWS)
    long_view = rng.random(ROWS) < 0.2 + 0.5 * video / VIDEOS
    impressions = pl.DataFrame(
        {
            "user_id": rng.integers(0, USERS, ROWS),
            "video_id": video,
            "author_id": 100 + video % 3,
            "tag": [f"tag_{each % 4}" for each in video],
            "tab": rng.integers(0, 3, ROWS),
            "duration_ms": 1000 * (5 + video),
            "play_time_ms": np.where(long_view, 4000 + 100 * video, 0) + rng.integers(0, 500, ROWS),
            "long_view": long_view.astype(int),
            "is_click": (long_view | (rng.random(ROWS) < 0.3)).astype(int),
            "split": np.repeat(["train", "val", "test"], ROWS // 3),
        }
    )
    watched = {
        each: [[(user + i) % VIDEOS for i in range(user)] for user in range(USERS)] for each in ("w", "l")
    }
    source = folder / "kuairand_pure_late"
    source.mkdir()
    impressions.write_parquet(source / "impressions.parquet")
    histories = {"user_id": range(USERS), "watch_seq": watched["w"], "long_watch_seq": watched["l"]}
    pl.DataFrame(histories).write_parquet(source / "user_history_0409_0424.parquet")
    monkeypatch.setenv(public_data.FOLDER_VARIABLE, str(folder))
    shipped = zoo_rows.dataset_stanza

    def few_columns(data: str, cache: Path) -> dict:
        columns = [
            {"name": list(WHOLE), "type": "categorical", "dtype": "int"},
            {"name": "tag", "type": "categorical", "dtype": "str"},
            {"name": "user_id", "type": "meta", "dtype": "int"},
        ]
        found = {**shipped(data, cache), "feature_cols": columns, "min_categr_count": 1}
        return found | {"label_col": [{"name": name, "dtype": "int"} for name in LABELS]}

    monkeypatch.setattr(zoo_rows, "dataset_stanza", few_columns)
    return impressions
