"""``encoding.json``: what it says, and that it encodes as the encoder that wrote it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import fuxi_mtl as fm
from fuxi_mtl.dataset import DataError, encoding_file
from fuxi_mtl.dataset.encoding import free_token
from fuxi_mtl.dataset.encoding_file import ENCODING, identity_of, read_encoding, write_encoding
from fuxi_mtl.options import FeatureOptions
from tests import raw_rows

WITHOUT_TENSORFLOW = """
import sys
import numpy as np, polars as pl
import fuxi_mtl as fm

batch = fm.Encoder(sys.argv[1])(pl.read_csv(sys.argv[2], infer_schema=False))
np.savez(sys.argv[3], **batch)
assert not {"tensorflow", "keras"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return raw_rows.fitted(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def rows():
    return raw_rows.frame(257, seed=3, unseen=True)


def test_a_process_without_tensorflow_encodes_every_kind_of_column(encoder, rows, tmp_path):
    write_encoding(encoder, tmp_path, "mmoe.onnx", {})
    rows.write_csv(tmp_path / "rows.csv")
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, tmp_path / ENCODING, tmp_path / "rows.csv"]
    done = subprocess.run([*command, tmp_path / "batch.npz"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "batch.npz") as batch:
        for name, expected in zip(("ids", "numeric"), encoder.encode(rows), strict=True):
            np.testing.assert_array_equal(batch[name], expected)
            assert batch[name].dtype == expected.dtype


def test_the_file_says_what_another_language_needs(encoder, tmp_path):
    write_encoding(encoder, tmp_path, "mmoe.onnx", {"histories": {"recent": {"columns": {"recent": "item"}}}})
    told = json.loads((tmp_path / ENCODING).read_text())
    inputs = {entry["name"]: entry for entry in told["inputs"]}
    assert list(inputs) == [feature.name for feature in encoder.feature_map.features]
    user = inputs["user"]
    assert told["vocabularies"]["user"] == list(encoder.tokens["user"])
    assert (user["pad"], user["oov"]) == (0, len(encoder.tokens["user"]) + 1)
    assert user["rule"] == {"rule": "Vocabulary", "owner": "user", "dtype": "str", "fill_na": None}
    assert inputs["recent"]["bag"]["max_len"] == 4
    assert inputs["recent"]["bag"]["padding"] == "pre"
    assert inputs["recent"]["rule"]["owner"] == "item"
    assert inputs["session"]["rule"]["buckets"] == 50
    assert {"offset", "scale", "fill_na"} <= set(inputs["price"]["rule"])
    start, stop = inputs["tags"]["weight_columns"]
    assert stop - start == inputs["tags"]["max_len"] == 3
    assert told["histories"] == {"recent": {"columns": {"recent": "item"}}}
    assert told["ids"] == {"dtype": "int32", "columns": encoder.feature_map.id_columns}
    assert told["identity"] == identity_of(encoder)


def test_a_large_vocabulary_is_a_file_beside_it_and_ids_may_be_free(tmp_path, monkeypatch):
    encoder = raw_rows.fitted(tmp_path, [FeatureOptions("user"), FeatureOptions("age", type="numeric")])
    tokens = list(encoder.tokens["user"])
    tokens[1], tokens[2] = free_token(2), 'a "quoted"\nline'
    object.__setattr__(encoder, "tokens", {"user": tuple(tokens)})
    monkeypatch.setattr(encoding_file, "LARGE", 5)
    write_encoding(encoder, tmp_path, "mmoe.onnx", {})
    known = json.loads((tmp_path / "vocabulary_0.json").read_text())
    assert known == [None if number == 1 else token for number, token in enumerate(tokens)]
    assert read_encoding(tmp_path / ENCODING).tokens == encoder.tokens
    (tmp_path / "vocabulary_0.json").write_text("[]")
    with pytest.raises(DataError, match=r"vocabulary_0\.json is not what was written with encoding\.json"):
        read_encoding(tmp_path / ENCODING)
    (tmp_path / "vocabulary_0.json").unlink()
    with pytest.raises(DataError, match=r"vocabulary_0\.json, which encoding\.json names, cannot be read"):
        read_encoding(tmp_path / ENCODING)


def test_the_encoding_of_another_model_is_not_replaced(encoder, tmp_path):
    write_encoding(encoder, tmp_path, "mmoe.onnx", {})
    write_encoding(encoder, tmp_path, "mmoe.onnx", {})
    with pytest.raises(DataError, match=r"belongs to mmoe\.onnx: write ple\.onnx into another folder"):
        write_encoding(encoder, tmp_path, "ple.onnx", {})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no file .* --signature from_ids"),
        ("{", "cannot be read"),
        ("{}", "is no encoding of a model"),
        ('{"format": 9, "inputs": []}', "has format 9, this version reads up to 1"),
    ],
)
def test_what_is_no_encoding_is_told(content, told, tmp_path):
    if content is not None:
        (tmp_path / ENCODING).write_text(content)
    with pytest.raises(ValueError, match=told):
        fm.Encoder(tmp_path / ENCODING)


def test_unknown_tokens_are_counted_over_all_calls(encoder, rows, tmp_path):
    write_encoding(encoder, tmp_path, "mmoe.onnx", {})
    encode = fm.Encoder(tmp_path / ENCODING)
    assert set(encode.columns) == set(encoder.raw_columns)
    for _ in range(2):
        ids = encode(rows)["ids"]
    feature = encoder.feature_map["user"]
    assert encode.unknown["user"] == (ids[:, feature.start] == feature.vocab_size - 1).mean() > 0
    with pytest.raises(ValueError, match="rows are str. They can be: a frame"):
        encode("rows.csv")
