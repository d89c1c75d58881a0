"""A small world for the tests of the interface: rows, their data, a model."""

from pathlib import Path

import numpy as np

import fuxi_mtl as fm

ROOT = Path(__file__).parents[2]
TINY = ROOT / "data" / "tiny_mtl"


def small_rows(rows: int = 160, seed: int = 0) -> dict[str, np.ndarray]:
    """Exposures with a click that the item decides, and purchases among the clicks."""
    random = np.random.default_rng(seed)
    item = random.integers(0, 8, rows)
    click = (random.random(rows) < 0.2 + 0.08 * item).astype(int)
    return {
        "user_id": np.array([f"u{number}" for number in random.integers(0, 20, rows)]),
        "item_id": item,
        "price": random.gamma(2.0, 3.0, rows).round(2),
        "session_id": np.arange(rows) // 8,
        "click": click,
        "buy": click * (random.random(rows) < 0.4),
        "spend": click * random.gamma(2.0, 2.0, rows).round(2),
    }


def small_data(rows=None, **options) -> fm.Dataset:
    """A dataset of such rows: the example of the documents."""
    return fm.Dataset(
        train_data=small_rows() if rows is None else rows,
        **{"valid_size": 0.2, "test_size": 0.2, "group_id": "session_id"} | options,
        features=[
            fm.Categorical("user_id"),
            fm.Categorical("item_id"),
            fm.Numeric("price", normalizer="StandardScaler"),
        ],
        tasks={"ctr": "click", "cvr": "buy | click"},
    )


def small_model(data: fm.Dataset, **options) -> fm.MultiTaskModel:
    """A model of it."""
    small = {"num_experts": 2, "expert_hidden_units": [4], "embedding_dim": 4}
    small |= {"gate_hidden_units": [], "tower_hidden_units": []}
    return fm.MMoE(data.features, data.tasks, **small | options)


def tiny_data(train, valid, test, **options) -> fm.Dataset:
    """data/tiny_mtl as its stanza describes it, from wherever its rows come."""
    return fm.Dataset(
        train_data=train,
        valid_data=valid,
        test_data=test,
        dataset_id="tiny_mtl",
        features=[
            fm.Categorical("user_id", source="user"),
            fm.Categorical("item_id", dtype="int", source="item"),
            fm.Categorical("category", source="item"),
            fm.Categorical("device", fill_na="unknown", source="context"),
            fm.Categorical("hour", dtype="int", source="context"),
            fm.Numeric("age", dtype="float", normalizer="StandardScaler", source="user"),
            fm.Numeric("price", dtype="float", fill_na=0, normalizer="MinMaxScaler", source="item"),
            fm.Sequence("tags", max_len=4, weights="tag_weights", source="item"),
            fm.Sequence("recent_items", max_len=5, padding="pre", share_embedding="item_id", source="user"),
        ],
        labels=[
            "click",
            fm.Label("cart", given="click"),
            fm.Label("conversion", given="click"),
            fm.Label("watch_time", given="click", kind="regression"),
        ],
        meta=["request_id"],
        group_id="user_id",
        min_categr_count=2,
        **options,
    )
