"""A stanza of dataset_config: files, inputs and labels."""

from dataclasses import dataclass
from typing import Any

from fuxi_mtl.options.declaring import option

# FuxiCTR's names for the pooling of a sequence.
POOLING_OF_ENCODER = {
    "MaskedAveragePooling": "mean",
    "MaskedSumPooling": "sum",
    "MaskedMaxPooling": "max",
}


@dataclass(frozen=True)
class FeatureOptions:
    """One entry of ``feature_cols``."""

    name: str | list[str] = option("", "Column, or columns with the same options.")
    type: str = option(
        "categorical",
        "What the column is.",
        ("categorical", "sequence", "numeric", "embedding", "meta"),
    )
    active: bool = option(True, "False leaves the column out.")
    dtype: str = option(
        "str",
        "How the raw column is read; text keeps 1.0 and 1 apart, which are one id otherwise.",
        ("str", "int", "float", "list", "text"),
    )
    source: str = option("", "Free text that groups features, such as user or item.")
    fill_na: Any = option(None, "Value of a missing entry before encoding.")
    min_categr_count: int | None = option(None, "Rarer tokens are OOV; overrides the dataset's.")
    embedding_dim: int | None = option(None, "Width of this feature's embedding; overrides the model's.")
    feature_encoder: str | None = option(
        None,
        "FuxiCTR's name of the pooling of a sequence.",
        tuple(POOLING_OF_ENCODER),
    )
    pooling: str | None = option(None, "Pooling of a sequence; mean unless said.", ("mean", "sum", "max"))
    weights: str | None = option(None, "Column with the weights of a bag, split like the bag.")
    share_embedding: str | None = option(None, "Feature whose vocabulary and table this one uses.")
    pretrained_emb: str | None = option(None, "npz or h5 file with 'key' and 'value': pretrained rows.")
    pretrain_dim: int | None = option(None, "Width of the pretrained rows; must equal the embedding's.")
    pretrain_usage: str = option("init", "How pretrained rows are used.", ("init",))
    freeze_emb: bool = option(False, "Keep pretrained rows as they are.")
    normalizer: str | None = option(None, "Scaling of a number.", ("StandardScaler", "MinMaxScaler"))
    category_processor: str | None = option(
        None, "Ids without a vocabulary.", ("quantile_bucket", "hash_bucket")
    )
    num_buckets: int | None = option(None, "Buckets of the category_processor.")
    compositional: str | None = option(
        None,
        "Vectors of ids composed of two rows, for more ids than memory has rows.",
        ("quotient_remainder",),
    )
    num_remainder_buckets: int | None = option(
        None, "Rows for the remainders of compositional ids; the root of their number unless said."
    )
    splitter: str | None = option(None, "Separator inside a sequence; '^' unless said.")
    max_len: int | None = option(None, "Longest sequence kept; the training data's longest unless said.")
    padding: str = option("post", "Which end of a long sequence is cut and filled.", ("post", "pre"))
    remap: bool = option(True, "False: the column already holds ids below vocab_size.")
    vocab_size: int | None = option(None, "Number of ids where the column already holds ids.")
    preprocess: None = option(None, "Code in YAML: not supported, always an error.")


@dataclass(frozen=True)
class LabelOptions:
    """One entry of ``label_col``."""

    name: str = option("", "Label column.")
    dtype: str = option("float", "Type of the column.", ("float", "int"))
    kind: str | None = option(None, "What the task predicts.", ("binary", "regression"))
    given: str | None = option(None, "Event without which this label is not defined, such as click.")
    metrics: list[str] | None = option(None, "Metrics of this task; those of the stanza unless said.")
    threshold: float | str | None = option(
        None, "Threshold of F1, precision, recall and accuracy of this task; that of the stanza unless said."
    )
    mask_value: float = option(-1.0, "Value that means missing, beside NaN.")


@dataclass(frozen=True)
class DatasetOptions:
    """A stanza of dataset_config."""

    data_root: str = option("./data/", "Folder under which encoded data are kept.")
    data_format: str = option("csv", "Format of the files.", ("csv", "parquet", "npz", "h5"))
    train_data: str = option(
        "", "Training file, a folder of such files, or a pattern such as part_*.parquet."
    )
    valid_data: str | None = option(None, "Validation file; without it, see valid_size.")
    test_data: str | None = option(None, "Test file; without it, see test_size.")
    feature_cols: list[FeatureOptions] = option([], "The inputs.")
    label_col: list[LabelOptions] = option([], "The labels.")
    sample_weight: str | None = option(None, "Column with each row's weight in the loss.")
    min_categr_count: int = option(1, "Tokens seen less often in training are OOV.")
    split_type: str = option(
        "random",
        "How one file is divided.",
        ("random", "sequential", "time", "user", "column"),
    )
    split_col: str | None = option(
        None, "Time column, user column, or column whose values are train, valid (or val) and test."
    )
    split_seed: int = option(2026, "Seed of a random split or a split by user.")
    valid_size: float = option(0.0, "Share (below 1) or number of rows for validation.")
    test_size: float = option(0.0, "Share (below 1) or number of rows for testing.")
    sep: str = option(",", "Separator of csv files.")
    quote_char: str | None = option(
        '"', "What csv fields are quoted with, at their beginning; null: a quote is text."
    )
    encoding: str = option("utf-8", "Encoding of csv files, a codec of Python such as gbk or utf-16.")
    bad_rows: str = option(
        "raise", "What to do with csv rows of more or fewer fields than the header.", ("raise", "skip")
    )
    n_rows: int | None = option(None, "Read at most this many rows of train_data, valid_data and test_data.")
    data_block_size: int = option(0, "Rows in a block while reading; 0 chooses.")
    rebuild_dataset: bool = option(True, "False: the columns already hold ids, and vocab_size says how many.")
    inconsistent: str = option(
        "raise",
        "What to do with rows such as a conversion without its click.",
        ("raise", "drop", "zero"),
    )
