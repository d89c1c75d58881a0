"""An encoding grows with new rows: no token changes its id or its vector, whatever came and went."""

import logging
import random
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, Encoder, load_dataset
from fuxi_mtl.dataset.encoding import Column, free_ids
from fuxi_mtl.dataset.growing import Grown, Growth, extend
from fuxi_mtl.dataset.loading import with_own_counts
from fuxi_mtl.dataset.matching import match_ids
from fuxi_mtl.dataset.rules import Vocabulary
from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.tasks import parse_task

TASKS = [parse_task("click", "click")]


class Reference:
    """The same by plain dicts: ids of tokens, the days on which they were last seen, counts of rare ones."""

    def __init__(self, tokens: dict[str, list[str]]):
        self.ids = {owner: {token: i for i, token in enumerate(known, 1)} for owner, known in tokens.items()}
        self.size = {owner: len(known) for owner, known in tokens.items()}
        self.last: dict[str, dict[str, int]] = {owner: {} for owner in tokens}
        self.rare: dict[str, dict[str, int]] = {owner: {} for owner in tokens}

    def update(self, owner, counts, day, least, lineage, expire, divisor):
        ids, last, rare = self.ids[owner], self.last[owner], self.rare[owner]
        for token in ids:
            last.setdefault(token, day)
        for token in counts:
            last[token] = day
        if not lineage:
            rare.clear()
        gone = [token for token, seen in last.items() if expire is not None and day - seen >= expire]
        for token in gone:
            ids.pop(token, None)
            rare.pop(token, None)
            del last[token]
        for token, count in counts.items():
            if token not in ids:
                rare[token] = rare.get(token, 0) + count
        new = sorted((t for t in counts if t in rare and rare[t] >= least), key=lambda t: (-rare[t], t))
        free = sorted(set(range(1, self.size[owner] + 1)) - set(ids.values()))
        before = self.size[owner]
        for token in new:
            if free:
                ids[token] = free.pop(0)
            else:
                self.size[owner] += 1
                ids[token] = self.size[owner]
            del rare[token]
        while (self.size[owner] - before) % divisor:
            self.size[owner] += 1
        for token in [t for t in last if t not in ids and t not in rare]:
            del last[token]
        return len(new)


def encoder_of(tokens, divisor=None) -> Encoder:
    """Two vocabularies, of which three features share one."""
    features = [
        Feature("item", "categorical", vocab_size=len(tokens["item"]) + 2, num_remainder_buckets=divisor),
        Feature("last_item", "categorical", vocab_size=len(tokens["item"]) + 2, share_embedding="item"),
        Feature("user", "categorical", vocab_size=len(tokens["user"]) + 2),
        Feature("seller", "categorical", vocab_size=len(tokens["item"]) + 2, share_embedding="last_item"),
    ]
    owners = {"item": "item", "last_item": "item", "user": "user", "seller": "item"}
    columns = tuple(Column(name, Vocabulary(owner)) for name, owner in owners.items())
    return Encoder(FeatureMap.of("d", features), columns, {k: tuple(v) for k, v in tokens.items()})


@pytest.mark.parametrize("seed", range(12))
def test_ids_and_vectors_are_those_of_plain_dicts_after_any_number_of_days(seed, tmp_path):
    chance = random.Random(seed)
    lineage, expire = chance.random() < 0.5, chance.choice([None, 2, 3])
    divisor, least = chance.choice([None, 3]), {"item": chance.randint(1, 3), "user": 2}
    pool = [f"t{i}" for i in range(40)]
    tokens = {owner: chance.sample(pool, chance.randint(3, 12)) for owner in ("item", "user")}
    encoder, reference = encoder_of(tokens, divisor), Reference(tokens)
    vectors: dict[str, np.ndarray] = {}
    held = {
        owner: np.random.default_rng(seed).normal(size=(len(known) + 2, 2)) for owner, known in tokens.items()
    }
    for owner, known in tokens.items():
        vectors |= {f"{owner} {token}": held[owner][i] for i, token in enumerate(known, 1)}
        vectors |= {f"{owner} OOV": held[owner][-1]}
    for day in range(1, 7):
        counts = {
            owner: {t: chance.randint(1, 4) for t in chance.sample(pool, chance.randint(0, 15))}
            for owner in tokens
        }
        growth = Growth(f"2026-11-{day:02}", "lineage" if lineage else "new", expire)
        frames = {
            owner: pl.DataFrame(
                {"token": list(c), "count": list(c.values())}, {"token": pl.String, "count": pl.Int64}
            )
            for owner, c in counts.items()
        }
        before = encoder
        encoder, grown = extend(encoder, frames, least, growth)
        assert Encoder(before.feature_map, before.columns, before.tokens).identity == before.identity
        for owner in tokens:
            divided = divisor or 1 if owner == "item" else 1
            new = reference.update(owner, counts[owner], day, least[owner], lineage, expire, divided)
            assert (grown[owner].new, grown[owner].tokens) == (new, len(reference.ids[owner]))
            # Rows move as ids do: by token.
            ids = match_ids(encoder, before, owner).ids
            rows = np.random.default_rng(day).normal(size=(len(ids), 2))
            rows[ids >= 0] = held[owner][ids[ids >= 0]]
            held[owner] = rows
            for token, number in reference.ids[owner].items():
                known = vectors.setdefault(f"{owner} {token}", rows[number])
                np.testing.assert_array_equal(rows[number], known)
            for name in [n for n in vectors if n.startswith(f"{owner} ")]:
                if name.split()[1] not in (*reference.ids[owner], "OOV"):
                    del vectors[name]  # who comes back is new
            np.testing.assert_array_equal(rows[-1], vectors[f"{owner} OOV"])
        encoder.save(tmp_path)
        encoder = Encoder.load(tmp_path)
        entries = [*pool, "__FREE_1__", "__FREE_2__", "__FREE_9__", "__OOV__", None]
        frame = pl.DataFrame(dict.fromkeys(("item", "last_item", "user", "seller"), entries))
        found, _ = encoder.encode(frame)
        for column, owner in enumerate(("item", "item", "user", "item")):
            oov = reference.size[owner] + 1
            expected = [reference.ids[owner].get(token, oov) for token in entries]
            assert found[:, column].tolist() == expected
            assert encoder.feature_map.features[column].vocab_size == oov + 1


def test_composed_vectors_of_all_tokens_and_of_oov_stay():
    before = encoder_of({"item": list("abcd"), "user": ["u"]}, divisor=3)
    counts = {"item": pl.DataFrame({"token": list("efgh"), "count": [1] * 4})}
    after, _ = extend(before, counts, {"item": 1, "user": 1}, Growth("1"))
    assert free_ids(after.tokens["item"]).tolist() == [9, 10]
    match = match_ids(after, before, "item")
    random_rows = np.random.default_rng(0)
    old = {
        name: random_rows.normal(size=(n, 2))
        for name, n in zip(("remainders", "quotients"), (4, 3), strict=True)
    }
    new = {name: random_rows.normal(size=(len(rows), 2)) for name, rows in match.rows.items()}
    for name, rows in match.rows.items():
        new[name][rows >= 0] = old[name][rows[rows >= 0]]

    def vector(tables, number):
        return tables["remainders"][1 + (number - 1) % 3] * tables["quotients"][1 + (number - 1) // 3]

    for number in range(1, 5):
        np.testing.assert_array_equal(vector(new, number), vector(old, number))
    np.testing.assert_array_equal(vector(new, 11), vector(old, 5))  # OOV


def test_days_that_are_no_dates_cannot_expire():
    encoder = encoder_of({"item": ["a"], "user": ["u"]})
    with pytest.raises(DataError, match="'first' is no date"):
        extend(encoder, {}, {"item": 1, "user": 1}, Growth("first", expire_days=3))


FEATURES = [
    {"name": "item", "min_categr_count": 2},
    {"name": "items", "type": "sequence", "share_embedding": "item"},
    {"name": "price", "type": "numeric", "normalizer": "StandardScaler"},
    {"name": "age", "type": "numeric", "category_processor": "quantile_bucket", "num_buckets": 2},
    {"name": "city", "category_processor": "hash_bucket", "num_buckets": 4},
]
FIRST = {
    "item": ["a", "a", "b", "b"],
    "items": ["a^b", "a", "", "b^b"],
    "price": [1.0, 3.0, 1.0, 3.0],
    "age": [1, 2, 3, 4],
    "city": ["x", "y", "x", "y"],
    "click": [0, 1, 0, 1],
}
SECOND = {
    "item": ["c", "a", "d", "a"],
    "items": ["c^c^c", "d", "e", "a"],
    "price": [11.0, 13.0, 11.0, 13.0],
    "age": [9, 9, 9, 9],
    "city": ["new", "y", "x", "y"],
    "click": [1, 1, 0, 1],
}


@pytest.fixture
def days(write, options):
    """Two days of files, as options of one stanza."""
    return [options(write(f"{i}.csv", rows), FEATURES) for i, rows in enumerate((FIRST, SECOND))]


def test_new_rows_are_encoded_by_yesterdays_encoder_or_by_its_extension(days, caplog):
    first, second = days
    old = load_dataset(first, TASKS, "d", progress=False).encoder
    assert old.tokens["item"] == ("b", "a")  # b was seen five times, in both columns
    as_before = load_dataset(second, TASKS, "d", progress=False, known=old)
    assert as_before.encoder.identity == old.identity
    assert as_before.train.ids[:, 0].tolist() == [3, 2, 3, 2]
    with caplog.at_level(logging.INFO):
        grown = load_dataset(second, TASKS, "d", progress=False, known=old, growth=Growth("1"))
    assert grown.encoder.tokens["item"] == ("b", "a", "c", "d")  # c four times, d twice, e once
    assert grown.grown == {"item": Grown(tokens=4, new=2, dropped=0)}
    # Sequences stay as long as they were, and so do buckets and scales.
    assert grown.train.ids[:, :3].tolist() == [[3, 3, 3], [2, 4, 0], [4, 5, 0], [2, 2, 0]]
    np.testing.assert_array_equal(grown.train.ids[:, 3:], as_before.train.ids[:, 3:])
    np.testing.assert_array_equal(grown.train.numeric, as_before.train.numeric)
    np.testing.assert_allclose(grown.train.numeric[:, 0], [9.0, 11.0, 9.0, 11.0])
    for sentence in ("'age' is cut into buckets", "'city' hashes its tokens"):
        assert sentence in caplog.text


def test_new_rows_that_are_written_otherwise_are_a_warning(days, write, options, caplog):
    first, second = days
    old = load_dataset(first, TASKS, "d", progress=False).encoder
    old = replace(old, unknown={"item": 0.1})
    otherwise = options(write("otherwise.csv", {**SECOND, "item": ["A", "B", "A", "B"]}), FEATURES)
    told = load_dataset(otherwise, TASKS, "d", progress=False, known=old).warnings
    assert any(
        "feature 'item': 100% of its entries in the new rows are unknown (10.0% in vali" in w for w in told
    )
    with caplog.at_level(logging.INFO):
        assert not any(
            "unknown" in w for w in load_dataset(second, TASKS, "d", progress=False, known=old).warnings
        )
    assert "d, train: unknown ids: " in caplog.text
    assert "item 50.00%" in caplog.text
    # What was usual stays known where no other rows say it.
    grown = load_dataset(second, TASKS, "d", progress=False, known=old, growth=Growth("1")).encoder
    assert grown.unknown == {"item": 0.1}


def test_the_key_of_grown_data_is_that_of_rows_and_encoder(days):
    first, second = days
    old = load_dataset(first, TASKS, "d", progress=False).encoder
    grown = load_dataset(second, TASKS, "d", progress=False, known=old, growth=Growth("1"))
    again = load_dataset(second, TASKS, "d", progress=False, known=old, growth=Growth("1"))
    assert again.key == grown.key
    assert again.grown == grown.grown
    fixed = load_dataset(second, TASKS, "d", progress=False, known=grown.encoder)
    assert fixed.key == grown.key
    np.testing.assert_array_equal(fixed.train.ids, grown.train.ids)
    other = load_dataset(second, TASKS, "d", progress=False, known=old)
    assert other.key != grown.key
    # What was seen before decides too, though rows are encoded alike.
    lineage = Growth("2", "lineage")
    once, _ = extend(old, {"item": pl.DataFrame({"token": ["e"], "count": [1]})}, {"item": 2}, lineage)
    assert once.identity == old.identity
    then = load_dataset(second, TASKS, "d", progress=False, known=once, growth=lineage)
    assert then.encoder.tokens["item"] == ("b", "a", "c", "d", "e")


def test_rare_tokens_of_the_first_rows_count_if_these_are_as_they_were(write, options):
    def day(name, items):
        given = {"item": items, "click": [0, 1] * (len(items) // 2)}
        return options(write(name, given), [{"name": "item", "min_categr_count": 3}])

    first, second = day("0.csv", ["a"] * 4 + ["e", "e"]), day("1.csv", ["e", "b", "b", "a"])
    old = load_dataset(first, TASKS, "d", progress=False)
    assert old.encoder.tokens["item"] == ("a",)
    counted = with_own_counts(old.encoder, first, TASKS, "d", old.key, "1")
    assert counted.identity == old.encoder.identity
    lineage = Growth("1", "lineage")
    grown = load_dataset(second, TASKS, "d", progress=False, known=counted, growth=lineage)
    assert grown.encoder.tokens["item"] == ("a", "e")  # twice before, and once today
    alone = load_dataset(second, TASKS, "d", progress=False, known=old.encoder, growth=lineage)
    assert alone.encoder.tokens["item"] == ("a",)
    assert with_own_counts(old.encoder, first, TASKS, "d", "another key", "1") is None
    gone = replace(first, train_data="gone.csv")
    assert with_own_counts(old.encoder, gone, TASKS, "d", old.key, "1") is None


def test_scales_may_follow_the_new_rows(days):
    first, second = days
    old = load_dataset(first, TASKS, "d", progress=False).encoder
    growth = Growth("1", statistics="update")
    grown = load_dataset(second, TASKS, "d", progress=False, known=old, growth=growth)
    np.testing.assert_allclose(grown.train.numeric[:, 0], [-1.0, 1.0, -1.0, 1.0])


def test_vectors_of_new_tokens_come_from_the_file_where_it_has_them(write, options, tmp_path):
    vectors = tmp_path / "vectors.npz"
    np.savez(vectors, key=np.array(["a", "b", "c"]), value=np.arange(6, dtype=np.float32).reshape(3, 2))
    feature = {"name": "item", "pretrained_emb": str(vectors), "pretrained_keys": "train"}
    first, second = (
        options(write(f"{i}.csv", {"item": rows["item"], "click": rows["click"]}), [feature])
        for i, rows in enumerate((FIRST, SECOND))
    )
    old = load_dataset(first, TASKS, "d", progress=False)
    grown = load_dataset(second, TASKS, "d", progress=False, known=old.encoder, growth=Growth("1"))
    before = np.load(old.folder / "item.pretrained.npy")
    after = np.load(grown.folder / "item.pretrained.npy")
    assert grown.encoder.tokens["item"] == ("a", "b", "c", "d")
    np.testing.assert_array_equal(after[[0, 1, 2, 5]], before[[0, 1, 2, 3]])
    np.testing.assert_array_equal(after[3], [4.0, 5.0])
    assert np.abs(after[4]).max() < 0.1


def test_an_encoder_of_other_features_is_refused(days):
    first, second = days
    old = load_dataset(first, TASKS, "d", progress=False).encoder
    with pytest.raises(DataError, match="the encoder is of the features item, items"):
        load_dataset(replace(second, feature_cols=second.feature_cols[:2]), TASKS, "d", known=old)
    hashed = replace(second.feature_cols[0], category_processor="hash_bucket", num_buckets=3)
    other = replace(second, feature_cols=[hashed, *second.feature_cols[1:]])
    with pytest.raises(DataError, match="the encoder has Vocabulary and the stanza asks for HashBuckets"):
        load_dataset(other, TASKS, "d", known=old)


def test_a_free_id_is_no_token_in_a_graph_either():
    import tensorflow as tf

    from fuxi_mtl.serving.encoding import GraphEncoder

    encoder = encoder_of({"item": ["a", "__FREE_2__", "c"], "user": ["u"]})
    entries = ["a", "__FREE_2__", "c", "x"]
    raw = {name: tf.constant(entries) for name in ("item", "last_item", "user", "seller")}
    assert GraphEncoder(encoder)(raw)["ids"][:, 0].numpy().tolist() == [1, 4, 3, 4]
    frame = pl.DataFrame(dict.fromkeys(raw, entries))
    assert encoder.encode(frame)[0][:, 0].tolist() == [1, 4, 3, 4]
