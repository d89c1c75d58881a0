"""Numbers that float32 does not tell apart, their logarithms, and columns that say nothing."""

import json

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from fuxi_mtl.dataset import DataError, Encoder, load_dataset
from fuxi_mtl.dataset.loading import load_as_encoded
from fuxi_mtl.dataset.rules import Number
from fuxi_mtl.serving import GraphEncoder
from fuxi_mtl.tasks import parse_task

SECONDS = 1_700_000_000 + np.random.default_rng(0).permutation(64)  # float32 knows multiples of 128
CLICK = [0, 1] * 32


def numeric(name="x", **options):
    return {"name": name, "type": "numeric", "dtype": "float"} | options


def rows(x=SECONDS, **more):
    return {"x": x, "click": CLICK} | more


def graph(encoder, name, values):
    """What a served model makes of a column, and the type in which it wants it."""
    encoding = GraphEncoder(encoder)
    spec = encoding.specs("text")[name]
    encoded = tf.function(encoding, autograph=False)({name: tf.constant(values, spec.dtype)})
    return encoded, spec.dtype


@pytest.mark.parametrize("file", ["train.csv", "train.parquet", "train.npz"])
@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        ("StandardScaler", (SECONDS - SECONDS.mean()) / SECONDS.std()),
        ("MinMaxScaler", (SECONDS - 1_700_000_000) / 63),
    ],
)
def test_unix_time_is_scaled_before_it_is_rounded_in_every_place(load, file, normalizer, expected):
    dataset = load(rows(), [numeric(normalizer=normalizer)], file=file)
    np.testing.assert_allclose(dataset.train.numeric[:, 0], expected, rtol=1e-6, atol=1e-7)
    loaded = Encoder.load(dataset.folder)
    for encoder in (dataset.encoder, loaded):
        _, numbers = encoder.encode(pl.DataFrame({"x": SECONDS}))
        np.testing.assert_array_equal(numbers, dataset.train.numeric)
    encoded, dtype = graph(loaded, "x", SECONDS)
    np.testing.assert_array_equal(encoded["numeric"], dataset.train.numeric)
    assert dtype == tf.float64
    assert not dataset.warnings


def test_other_columns_stay_float32_to_the_bit(load):
    """Scaled in float32 by moments of the rounded numbers, as always."""
    x = np.random.default_rng(1).gamma(2.0, 30.0, 64).round(3)
    dataset = load(rows(x), [numeric(normalizer="StandardScaler")])
    single = x.astype(np.float32)
    rule = dataset.encoder.columns[0].rule
    assert rule == Number(offset=rule.offset, scale=rule.scale)
    assert rule.offset == np.float32(rule.offset)
    expected = (single - np.float32(rule.offset)) / np.float32(rule.scale)
    np.testing.assert_array_equal(dataset.train.numeric[:, 0], expected)
    encoded, dtype = graph(dataset.encoder, "x", x)
    np.testing.assert_array_equal(encoded["numeric"][:, 0], expected)
    assert dtype == tf.float32


def test_missing_and_infinite_times_are_filled(load):
    x = [*SECONDS[:62].astype(float), np.nan, np.inf]
    plain = load(rows(x), [numeric(normalizer="StandardScaler")])
    np.testing.assert_array_equal(plain.train.numeric[62:, 0], [0, 0])
    assert "'x': 1 infinite entries of training rows are read as missing" in " ".join(plain.warnings)
    filled = load(rows(x), [numeric(normalizer="MinMaxScaler", fill_na=1_700_000_021)])
    least, most = SECONDS[:62].min(), SECONDS[:62].max()
    np.testing.assert_allclose(filled.train.numeric[62:, 0], [(1_700_000_021 - least) / (most - least)] * 2)
    encoded, _ = graph(filled.encoder, "x", x)
    np.testing.assert_array_equal(encoded["numeric"], filled.train.numeric)


def test_quantile_buckets_of_unix_time_are_of_equal_size(load):
    dataset = load(rows(), [numeric(category_processor="quantile_bucket", num_buckets=8)])
    _, counts = np.unique(dataset.train.ids, return_counts=True)
    assert list(counts) == [8] * 8
    encoded, dtype = graph(dataset.encoder, "x", SECONDS)
    np.testing.assert_array_equal(encoded["ids"], dataset.train.ids)
    assert dtype == tf.float64


def test_distinct_numbers_that_a_column_without_a_normalizer_loses_are_said(load):
    (told,) = load(rows(), [numeric()]).warnings
    left = len(np.unique(SECONDS.astype(np.float32)))
    assert f"'x': float32 tells {left} of 64 distinct numbers apart, near 17000000" in told
    assert "normalizer: StandardScaler subtracts before it rounds" in told
    # Digits of a fraction that float32 does not hold say nothing.
    assert not load(rows(np.random.default_rng(0).random(64)), [numeric()], file="b.parquet").warnings


def test_an_encoding_of_format_1_scales_unix_time_as_it_did(options, write):
    """In float32, where the mean of the rounded numbers is subtracted from them."""
    stanza = options(write("train.csv", rows()), [numeric(normalizer="StandardScaler")])
    tasks = [parse_task("click", "click")]
    old = load_as_encoded(stanza, tasks, "old", 1)
    single = SECONDS.astype(np.float32)
    scale = np.float32(single.astype(np.float64).std() or 1.0)
    offset = np.float32(single.astype(np.float64).mean())
    np.testing.assert_array_equal(old.train.numeric[:, 0], (single - offset) / scale)
    assert load_dataset(stanza, tasks, "old").train.numeric[:, 0].std() == pytest.approx(1, rel=1e-6)


def test_rules_of_before_are_read_as_they_were(tmp_path, load):
    dataset = load(rows(np.arange(64.0)), [numeric(normalizer="StandardScaler")])
    dataset.encoder.save(tmp_path)
    path = tmp_path / "encoders.json"
    content = json.loads(path.read_text())
    for key in ("double", "log"):
        del content["columns"]["x"][key]
    path.write_text(json.dumps(content))
    (tmp_path / "checksums.json").unlink()
    assert Encoder.load(tmp_path).columns == dataset.encoder.columns


def test_a_logarithm_is_the_same_in_training_and_served(load):
    x = np.random.default_rng(3).gamma(0.3, 1e5, 64)
    x[0] = 0
    dataset = load(rows([*x[:63], ""]), [numeric(normalizer="log1p")])
    np.testing.assert_allclose(dataset.train.numeric[:63, 0], np.log1p(x[:63]), rtol=1e-6)
    assert dataset.train.numeric[63, 0] == 0
    encoded, dtype = graph(dataset.encoder, "x", [*x[:63], np.nan])
    np.testing.assert_array_equal(encoded["numeric"], dataset.train.numeric)
    assert dtype == tf.float32


def test_what_has_no_logarithm_is_refused_wherever_it_comes_up(load):
    bad = [1.0] * 62 + [-1.0, 2.0]
    with pytest.raises(DataError, match="'x', row 63: -1.0 is not a number above -1, as normalizer: log1p"):
        load(rows(bad), [numeric(normalizer="log1p")])
    encoder = load(rows(np.arange(64.0)), [numeric(normalizer="log1p")]).encoder
    with pytest.raises(ValueError, match="not a number above -1"):
        encoder.encode(pl.DataFrame({"x": [-3.0]}))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not above -1, as normalizer: log1p"):
        graph(encoder, "x", [-3.0])
    with pytest.raises(DataError, match="fill_na -1 has no logarithm"):
        load(rows(), [numeric(normalizer="log1p", fill_na=-1)])


# ---- columns that say nothing --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "feature", "told"),
    [
        (
            ["a"] * 64,
            {},
            "'x': its vocabulary has one token, 'a' (min_categr_count 1): it says next to nothing",
        ),
        ([""] * 64, {}, "'x': its vocabulary has one token, that of missing entries (min_categr_count 1)"),
        ([7] * 64, numeric(), "'x' is 7 in all 64 training rows that have it: it says nothing"),
        ([7, ""] * 32, numeric(normalizer="MinMaxScaler"), "'x' is 7 in all 32 training rows that have it"),
        ([""] * 64, numeric(), "'x' is missing or infinite in all 64 training rows"),
        (["inf"] * 64, numeric(normalizer="StandardScaler"), "'x' is missing or infinite in all 64 training"),
        (
            ["a|b", "b|c", "b|c", "a|b"] * 16,
            {"type": "sequence"},
            "'x': no row of the training data has more than one token, such as 'a|b'. Is '^' the splitter?",
        ),
    ],
)
def test_a_column_that_says_nothing_is_said(load, x, feature, told):
    dataset = load(rows(x), [{"name": "x"} | feature])
    assert len(dataset.warnings) == 1
    assert told in dataset.warnings[0]
    assert np.isfinite(dataset.train.numeric).all()


def test_test_rows_that_are_the_training_rows_are_said(load, write):
    x = ["a", "b"] * 32
    same = write("test.csv", rows(x))
    other = write("valid.csv", rows(x[1:] + x[:1]))
    dataset = load(rows(x), [{"name": "x"}], test_data=str(same), valid_data=str(other))
    told = [each for each in dataset.warnings if "rows of train" in each]
    assert told == ["test has the very rows of train: metrics on them are of what was learned by heart."]


def test_weights_that_count_no_training_row_are_refused(load, write):
    x = {"x": ["a", "b"] * 32, "click": CLICK}
    with pytest.raises(DataError, match="sample_weight is 0 in all 64 training rows: nothing can be learned"):
        load(x | {"w": [0] * 64}, [{"name": "x"}], sample_weight="w")
    valid = write("valid.csv", {"x": ["a", "b"], "click": [0, 1], "w": [0, 0]})
    dataset = load(x | {"w": [1] * 64}, [{"name": "x"}], sample_weight="w", valid_data=str(valid))
    assert "sample_weight is 0 in all 2 rows of valid." in dataset.warnings


def test_a_label_as_the_weight_of_rows_is_refused_or_said(load):
    x = rows(["a", "b"] * 32, spend=[2, 0] * 32)
    with pytest.raises(DataError, match="sample_weight: 'click' is a label of 0 and 1, so only its"):
        load(x, [{"name": "x"}], sample_weight="click")
    labels = ["click", {"name": "spend", "kind": "regression"}]
    dataset = load(x, [{"name": "x"}], labels, {"ctr": "click"}, sample_weight="spend")
    assert "sample_weight is a label too: rows in which it is 0 do not count in the loss." in dataset.warnings


def test_a_bag_is_not_its_own_weights(load):
    with pytest.raises(DataError, match="feature 'x': weights names its own bag"):
        load(rows(["1^2"] * 64), [{"name": "x", "type": "sequence", "weights": "x"}])
