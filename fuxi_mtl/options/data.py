"""Options of a dataset: files, inputs and labels."""

from dataclasses import dataclass
from typing import Any

from fuxi_mtl.options.declaring import MOST_LENGTH, MOST_OF_SEEDS, MOST_WIDTH, option
from fuxi_mtl.options.decoders import DECODERS, kind_of
from fuxi_mtl.options.family import Family

POOLINGS = Family(
    "pooling",
    "pooling",
    {
        "mean": "fuxi_mtl.layers.pooling:mean",
        "sum": "fuxi_mtl.layers.pooling:total",
        "max": "fuxi_mtl.layers.pooling:largest",
    },
    given=("vectors", "weights", "present"),
    has_options=False,
)
# FuxiCTR's names for the pooling of a sequence.
POOLING_OF_ENCODER = {
    "MaskedAveragePooling": "mean",
    "MaskedSumPooling": "sum",
    "MaskedMaxPooling": "max",
}


NORMALIZERS = ("StandardScaler", "MinMaxScaler", "log1p")


@dataclass(frozen=True)
class FeatureOptions:
    """One entry of ``feature_cols``."""

    name: str | list[str] = option(
        "", "The column, or several columns with the same options.", example="[user_id, item_id]"
    )
    type: str = option(
        "categorical",
        "What the column holds: ids, lists of ids, a number, a vector, or values to carry along.",
        ("categorical", "sequence", "numeric", "embedding", "meta"),
    )
    active: bool = option(True, "False leaves the column out.")
    dtype: str = option(
        "str",
        "How the raw column is read; text keeps 1.0 and 1 apart, which are one id otherwise.",
        ("str", "int", "float", "list", "text"),
    )
    source: str = option("", "Free text that groups features, such as user or item; nothing is done with it.")
    fill_na: Any = option(None, "Value that stands in for a missing entry before encoding.")
    min_categr_count: int | None = option(
        None, "Tokens seen less often in training share one id; the dataset's unless said.", least=1
    )
    embedding_dim: int | None = option(
        None, "Width of this feature's embedding; the model's unless said.", least=1, most=MOST_WIDTH
    )
    feature_encoder: str | None = option(
        None,
        "FuxiCTR's name of the pooling of a sequence; here it is pooling.",
        tuple(POOLING_OF_ENCODER),
    )
    pooling: str | None = option(None, "How a sequence becomes one vector; mean unless said.", POOLINGS)
    weights: str | None = option(None, "Column with a weight for each id of a sequence, split like it.")
    share_embedding: str | None = option(None, "Feature whose vocabulary and table this one uses.")
    pretrained_emb: str | None = option(
        None, "npz or h5 file with rows to start from: the arrays 'key' and 'value'."
    )
    pretrain_dim: int | None = option(
        None, "Width of the pretrained rows; must equal the embedding's.", least=1
    )
    pretrain_usage: str = option("init", "How pretrained rows are used: as first values.", ("init",))
    pretrained_keys: str = option(
        "all",
        "all: every key of the file gets an id, seen in training or not; train: only those seen.",
        ("all", "train"),
    )
    freeze_emb: bool = option(False, "Never change the pretrained rows.")
    normalizer: str | None = option(
        None,
        "Scaling of a number by the training rows, to mean 0 and deviation 1 or to 0 up to 1; or log(1 + x).",
        NORMALIZERS,
    )
    category_processor: str | None = option(
        None,
        "Ids without a vocabulary: which quantile of the training rows a number lies in, a hash, or the "
        "logarithm of a time that has passed, floor(log2(1 + x)), up to 31.",
        ("quantile_bucket", "hash_bucket", "log2_bucket"),
    )
    clip_negative_gaps: bool = option(
        False, "log2_bucket: a time below 0, which lies in the future, counts as 0; else it is an error."
    )
    num_buckets: int | None = option(None, "Number of ids that the category_processor gives.", least=1)
    compositional: str | None = option(
        None,
        "Vectors of ids composed of two rows, for more ids than memory has rows.",
        ("quotient_remainder",),
    )
    num_remainder_buckets: int | None = option(
        None,
        "Rows for the remainders of compositional ids; the square root of the number of ids unless said.",
        least=1,
    )
    splitter: str | None = option(None, "Separator inside a sequence; '^' unless said.")
    max_len: int | None = option(
        None,
        "Longest sequence kept; the longest of the training data unless said.",
        least=1,
        most=MOST_LENGTH,
    )
    padding: str = option(
        "post", "Which end of a sequence is filled, and cut unless order says it.", ("post", "pre")
    )
    order: str | None = option(
        None,
        "How events of a history come: long ones then lose their oldest, whichever end that is.",
        ("oldest_first", "newest_first"),
    )
    remap: bool = option(True, "False: the column holds ids already, and vocab_size says how many.")
    vocab_size: int | None = option(None, "Number of ids where the column holds them already.", least=1)
    preprocess: None = option(None, "Code in YAML, which is never run: always an error.")


@dataclass(frozen=True)
class LabelOptions:
    """One entry of ``label_col``."""

    name: str = option("", "The column of the label.")
    dtype: str = option("float", "Type of the column.", ("float", "int"))
    kind: str | None = option(
        None,
        "Whether it is 0 or 1, any number (value is the same as regression) or one of several classes; "
        "binary unless said.",
        ("binary", "regression", "value", "classes"),
    )
    decoder: str | dict | None = option(
        None,
        "What makes a value of a head's raw numbers, and its error; a type and its options.",
        DECODERS,
        example="{type: ziln}",
    )
    given: str | None = option(None, "Event without which this label is not defined.", example="click")
    metrics: list[str] | None = option(
        None, "Metrics of the task on this label; those of the stanza unless said.", example="[MAE, RMSE]"
    )
    threshold: float | str | None = option(
        None,
        "Threshold of F1, precision, recall and accuracy of this task; that of the stanza unless said.",
        ("base_rate", "best_f1"),
        least=0,
        most=1,
    )
    mask_value: float | None = option(
        None, "Value that means missing, beside NaN; -1 unless said, and for a regression none."
    )
    normalizer: str | None = option(
        None,
        "Unit in which a regression is learnt, as for features; predictions and metrics stay in the data's.",
        NORMALIZERS,
    )

    def __post_init__(self):
        # One word for each thing: a value is a regression, and a decoder says what its labels are.
        if isinstance(self.decoder, str):
            object.__setattr__(self, "decoder", {"type": self.decoder})
        if self.kind == "value":
            object.__setattr__(self, "kind", "regression")
        if self.kind is None and isinstance(self.decoder, dict):
            object.__setattr__(self, "kind", kind_of(self.decoder.get("type", "")))
        if self.kind == "classes" and self.decoder is None:
            object.__setattr__(self, "decoder", {"type": "softmax"})


@dataclass(frozen=True)
class DatasetOptions:
    """A stanza of dataset_config."""

    data_root: str = option("./data/", "Folder under which encoded data are kept.")
    data_format: str = option("csv", "Format of the files.", ("csv", "parquet", "npz", "h5"))
    train_data: str = option(
        "",
        "Training file, a folder of such files, or a pattern, perhaps with days.",
        example="./logs/dt={last_day-6..last_day}/*.parquet",
    )
    valid_data: str | None = option(
        None, "Validation file, folder or pattern; without it, valid_size cuts rows off train_data."
    )
    test_data: str | None = option(
        None, "Test file, folder or pattern; without it, test_size cuts rows off train_data."
    )
    last_day: str | None = option(
        None, "The day that last_day means in patterns of files.", example="2026-11-08"
    )
    missing_days: str = option(
        "raise", "What to do with days of a pattern that have no file.", ("raise", "skip")
    )
    feature_cols: list[FeatureOptions] = option(
        [], "The columns that the model reads, and those that are carried along.", example="[{name: user_id}]"
    )
    label_col: list[LabelOptions] = option(
        [], "The columns to predict.", example="[{name: click}, {name: conversion, given: click}]"
    )
    sample_weight: str | None = option(None, "Column with the weight of each row in the loss.")
    min_categr_count: int = option(1, "Tokens seen less often in training share one id.", least=1)
    split_type: str = option(
        "random",
        "How rows are cut off train_data: at random, from its end, the latest, whole users, or by a column.",
        ("random", "sequential", "time", "user", "column"),
    )
    split_col: str | None = option(
        None, "Time column, user column, or column whose values are train, valid (or val) and test."
    )
    split_seed: int = option(2026, "Seed of a random split or a split by user.", least=0, most=MOST_OF_SEEDS)
    valid_size: float = option(
        0.0, "Rows for validation: a share if it is below 1, else their number.", least=0
    )
    test_size: float = option(0.0, "Rows for testing: a share if it is below 1, else their number.", least=0)
    sep: str = option(",", "Separator of csv files.")
    quote_char: str | None = option(
        '"', "What csv fields are quoted with, at their beginning; null: a quote is text."
    )
    encoding: str = option("utf-8", "Encoding of csv files, a codec of Python such as gbk or utf-16.")
    bad_rows: str = option(
        "raise", "What to do with csv rows of more or fewer fields than the header.", ("raise", "skip")
    )
    n_rows: int | None = option(
        None, "Read at most this many rows of train_data, valid_data and test_data each.", least=1
    )
    remote_cache: str = option(
        "~/.cache/fuxi_mtl",
        "Folder for local copies of files that are given as URLs, such as s3://logs/a.csv.",
    )
    remote_cache_gb: float = option(
        50.0, "GiB of such copies at most; those that were used least lately make room.", above=0
    )
    data_block_size: int = option(0, "Rows in a block while reading; 0 chooses.", least=0)
    rebuild_dataset: bool = option(True, "False: the columns hold ids already, and vocab_size says how many.")
    inconsistent: str = option(
        "raise",
        "What to do with rows such as a conversion without its click: stop, drop them, or make the label 0.",
        ("raise", "drop", "zero"),
    )
