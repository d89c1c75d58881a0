"""Items that arrive over time."""

import numpy as np
import polars as pl

from fuxi_mtl.simulation import make_settings
from fuxi_mtl.simulation.funnel import Funnel


def test_the_share_of_items_that_arrive_does_so_one_by_one_and_changes_no_other_column():
    given = {"rows": 60_000, "items": 100, "users": 100}
    always = pl.concat(Funnel.of(make_settings("funnel", given=given)).frames())
    later = pl.concat(Funnel.of(make_settings("funnel", given={**given, "arrivals": 0.4})).frames())
    first = later.group_by("item_id").agg(pl.col("time").min()).sort("time")["time"].to_numpy()
    assert (first[:60] < 0.02).all()
    np.testing.assert_allclose(first[60:], np.arange(1, 41) / 41, atol=0.02)
    for column in ("user_id", "hour", "position", "time"):
        assert later[column].equals(always[column])
    there = later["item_id"] == always["item_id"]
    assert 0.7 < there.mean() < 0.9  # of 40 % of the items half of the rows come too early, by popularity
    assert later.filter(there)["category"].equals(always.filter(there)["category"])
