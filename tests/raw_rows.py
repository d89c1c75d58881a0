"""Raw rows with every kind of column, for tests of what takes raw rows: `export` and `predict`.

Entries are missing, empty, unseen in training, too long and out of range, each in some rows.
"""

from pathlib import Path

import keras
import numpy as np
import polars as pl
import tensorflow as tf

from fuxi_mtl import registry
from fuxi_mtl.dataset import Encoder, load_dataset
from fuxi_mtl.options import DatasetOptions, FeatureOptions, LabelOptions
from tests import tiny

FEATURES = [
    FeatureOptions("user", source="user", min_categr_count=2),
    FeatureOptions("item", dtype="int"),
    FeatureOptions("device", fill_na="unknown"),
    FeatureOptions("hour", source="context", dtype="int", fill_na=12),
    FeatureOptions("session", category_processor="hash_bucket", num_buckets=50),
    FeatureOptions(
        "ad",
        dtype="int",
        category_processor="hash_bucket",
        num_buckets=2_000_000_000,
        compositional="quotient_remainder",
    ),
    FeatureOptions("slot", dtype="int", remap=False, vocab_size=6),
    FeatureOptions("rank", dtype="int", remap=False, vocab_size=6, fill_na=2),
    FeatureOptions("rare", min_categr_count=1000),
    FeatureOptions("age", source="user", type="numeric", dtype="float", normalizer="StandardScaler"),
    FeatureOptions("price", type="numeric", dtype="float", normalizer="MinMaxScaler", fill_na=3),
    FeatureOptions("depth", type="numeric", dtype="float"),
    FeatureOptions(
        "income", type="numeric", dtype="float", category_processor="quantile_bucket", num_buckets=5
    ),
    FeatureOptions(
        "spent", type="numeric", dtype="float", category_processor="quantile_bucket", num_buckets=4, fill_na=0
    ),
    FeatureOptions("tags", source="user", type="sequence", max_len=3, weights="tag_weights"),
    FeatureOptions(
        "recent",
        type="sequence",
        dtype="int",
        max_len=4,
        padding="pre",
        share_embedding="item",
        pooling="max",
    ),
    FeatureOptions(
        "topics",
        type="sequence",
        splitter="|",
        max_len=3,
        fill_na="sport|music",
        category_processor="hash_bucket",
        num_buckets=9,
        compositional="quotient_remainder",
        num_remainder_buckets=4,
        pooling="sum",
    ),
    FeatureOptions("places", type="sequence", dtype="int", max_len=3, remap=False, vocab_size=6),
    FeatureOptions("vector", type="embedding", dtype="float", max_len=2),
]
BAGS = {"tags": "^", "tag_weights": "^", "recent": "^", "topics": "|", "places": "^"}
LABELS = ("click", "buy")


def frame(rows: int, seed: int, unseen: bool = False) -> pl.DataFrame:
    """Rows as a csv file gives them, all text.

    Args:
        rows: Number of rows.
        seed: Of the random numbers.
        unseen: Whether there are tokens, ids and numbers that no row without `unseen` has.
    """
    random = np.random.default_rng(seed)
    extra = 3 if unseen else 0

    def pick(prefix: str, known: int) -> list[str]:
        return [f"{prefix}{value}" for value in random.integers(0, known + extra, rows)]

    def sometimes_missing(texts: list[str]) -> list[str | None]:
        return [None if lost else text for text, lost in zip(texts, random.random(rows) < 0.15, strict=True)]

    def number(scale: float) -> list[str]:
        return [repr(float(x)) for x in random.normal(5, scale * (1 + extra), rows)]

    lengths = random.integers(0, 6, rows)

    def bag(prefix: str, known: int, splitter: str = "^") -> list[str]:
        members = [[f"{prefix}{value}" for value in random.integers(0, known + extra, n)] for n in lengths]
        return [splitter.join(each) for each in members]

    weights = [[f"{weight:.3f}" for weight in random.uniform(0, 2, n)] for n in lengths]
    click = random.random(rows) < 0.4
    columns = {
        "user": pick("u", 30),
        "item": pick("", 12),
        "device": pick("d", 3),
        "hour": pick("", 24),
        "session": pick("s", 200),
        "ad": pick("", 90),
        "slot": pick("", 6),
        "rank": pick("", 6),
        "rare": pick("r", 9),
        "age": number(3),
        "price": number(30),
        "depth": number(1),
        "income": number(2),
        "spent": number(2),
    }
    columns = {name: sometimes_missing(texts) for name, texts in columns.items()}
    columns |= {
        "tags": bag("t", 8),
        "tag_weights": sometimes_missing(["^".join(each) for each in weights]),
        "recent": sometimes_missing(bag("", 12)),
        "topics": sometimes_missing(bag("topic", 7, "|")),
        "places": sometimes_missing(bag("", 6)),
        "vector": sometimes_missing([f"{x:.4f}^{y:.4f}" for x, y in random.normal(size=(rows, 2))]),
        "click": [str(int(x)) for x in click],
        "buy": [str(int(x)) for x in click & (random.random(rows) < 0.5)],
        "request": [f"{i:05d}" for i in range(rows)],
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def fitted(
    folder: Path, features: list[FeatureOptions] | None = None, rows: pl.DataFrame | None = None
) -> Encoder:
    """An encoder, fitted on rows that it writes into the folder."""
    (frame(400, seed=1) if rows is None else rows).write_csv(folder / "train.csv")
    options = DatasetOptions(
        data_root=str(folder / "encoded"),
        train_data=str(folder / "train.csv"),
        feature_cols=features or FEATURES,
        label_col=[LabelOptions(name) for name in LABELS],
    )
    tasks = tiny.tasks_of({"ctr": "click", "cvr": "buy | click"})
    return load_dataset(options, tasks, "raw_rows", progress=False).encoder


def model_for(encoder: Encoder, name: str = "MMoE", times: float = 3.0):
    """A small model of these inputs, built, with weights far enough from zero for its outputs to differ.

    Args:
        encoder: Of the inputs.
        name: Of the model.
        times: How much larger weights are made at least; rounding grows with them.
    """
    keras.utils.set_random_seed(1)  # one draw of weights in some dozens rounds by more than a millionth
    cls = registry.model(name)
    products = {"condition_features": ["user"], "rank_k": 4, "overparam_p": 6}  # which are folded
    model = cls(encoder.feature_map, tiny.named_plan(cls), **tiny.options_of(cls, apg=products))
    model.build()
    for variable in model.trainable_variables:
        spread = float(np.std(variable))
        variable.assign(variable * (max(times, 0.2 / spread) if spread else 1.0))
    return model


def texts(rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """The rows as `serving_default` takes them."""
    arrays = {}
    for feature in FEATURES:
        entries = rows[feature.name]
        if feature.type == "embedding":
            vectors = [[np.nan] * feature.max_len if x is None else x.split("^") for x in entries]
            arrays[feature.name] = np.array(vectors, np.float32)
        elif feature.name in BAGS or feature.dtype == "str":
            arrays[feature.name] = np.array(entries.fill_null("").to_list(), object)
        elif feature.dtype == "int":
            arrays[feature.name] = entries.cast(pl.Int64).fill_null(np.iinfo(np.int64).min).to_numpy()
        else:
            arrays[feature.name] = entries.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float32)
    return arrays | {"tag_weights": np.array(rows["tag_weights"].fill_null("").to_list(), object)}


def ragged(rows: pl.DataFrame) -> dict:
    """The rows as `serve_ragged` takes them."""
    dtypes = {"recent": tf.int64, "places": tf.int64, "tag_weights": tf.float32}
    tensors = {name: tf.constant(array) for name, array in texts(rows).items()}
    for name, splitter in BAGS.items():
        lists = [text.split(splitter) if text else [] for text in rows[name].fill_null("")]
        bags = tf.ragged.constant(lists, tf.string, ragged_rank=1)
        if name in dtypes:
            bags = bags.with_values(tf.strings.to_number(bags.values, dtypes[name]))
        tensors[name] = bags
    return tensors


def padded(rows: pl.DataFrame) -> dict:
    """The rows as `serve_lists` takes them."""
    missing = {tf.string: "", tf.int64: tf.int64.min, tf.float32: np.nan}
    return {
        name: x.to_tensor(missing[x.dtype]) if isinstance(x, tf.RaggedTensor) else x
        for name, x in ragged(rows).items()
    }
