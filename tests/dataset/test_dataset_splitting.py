import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, load_dataset
from fuxi_mtl.tasks import parse_task

ROWS = 100
FEATURES = [{"name": "x"}, {"name": "row", "type": "meta", "dtype": "int"}]


def columns(**more) -> dict:
    rng = np.random.default_rng(0)
    return {"x": ["a", "b"] * 50, "row": list(range(ROWS)), "click": rng.integers(0, 2, ROWS).tolist()} | more


def rows_of(dataset) -> list[list[int]]:
    splits = (dataset.train, dataset.valid, dataset.test)
    return [[] if split is None else split.meta(["row"])["row"].to_list() for split in splits]


def test_without_sizes_all_rows_are_for_training(load):
    dataset = load(columns(), FEATURES)
    assert (dataset.train.rows, dataset.valid, dataset.test) == (ROWS, None, None)


@pytest.mark.parametrize("block", [7, 1000])
def test_a_random_split_is_seeded_and_keeps_the_order_of_the_rows(load, block):
    given = {"valid_size": 0.2, "test_size": 10, "data_block_size": block}
    train, valid, test = rows_of(load(columns(), FEATURES, **given))
    assert (len(train), len(valid), len(test)) == (70, 20, 10)
    assert sorted(train + valid + test) == list(range(ROWS))
    assert train == sorted(train)
    assert valid == sorted(valid)
    assert valid != list(range(70, 90))
    assert rows_of(load(columns(), FEATURES, data_root="elsewhere", **given)) == [train, valid, test]
    assert rows_of(load(columns(), FEATURES, split_seed=1, **given))[1] != valid


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_sequential_split_takes_the_last_rows(load):
    train, valid, test = rows_of(
        load(columns(), FEATURES, split_type="sequential", valid_size=0.1, test_size=0.2)
    )
    assert (train, valid, test) == (list(range(70)), list(range(70, 80)), list(range(80, 100)))


@pytest.mark.parametrize("times", ["number", "iso", "date"])
def test_a_split_by_time_takes_the_latest_rows(load, times):
    order = np.random.default_rng(1).permutation(ROWS)
    days = pl.Series(order).cast(pl.Int32).cast(pl.Date)
    values = {"number": order, "iso": days.cast(pl.String), "date": days}[times]
    frame = pl.DataFrame(columns()).with_columns(pl.Series("t", values))
    dataset = load(
        frame, FEATURES, file="t.parquet", split_type="time", split_col="t", valid_size=10, test_size=20
    )
    train, valid, test = rows_of(dataset)
    assert sorted(order[test]) == list(range(80, 100))
    assert sorted(order[valid]) == list(range(70, 80))
    assert train == sorted(train)


def test_rows_of_equal_time_keep_their_order(load):
    times = np.random.default_rng(2).integers(0, 4, ROWS)
    given = {"split_type": "time", "split_col": "t", "valid_size": 15, "test_size": 35}
    train, valid, test = rows_of(load(columns(t=times.tolist()), FEATURES, **given))
    order = sorted(range(ROWS), key=lambda row: (times[row], row))
    assert (sorted(order[65:]), sorted(order[50:65]), sorted(order[:50])) == (test, valid, train)


@pytest.mark.parametrize("block", [7, 1000])
def test_sample_weights_stay_with_their_rows(load, block):
    given = {"valid_size": 0.3, "test_size": 0.2, "data_block_size": block, "inconsistent": "drop"}
    contradictory = {"w": [row / 8 for row in range(ROWS)], "buy": [int(row % 5 == 0) for row in range(ROWS)]}
    tasks = {"ctr": "click", "cvr": "buy | click"}
    made = columns(**contradictory)
    dataset = load(made, FEATURES, ("click", "buy"), tasks, sample_weight="w", **given)
    rows = rows_of(dataset)
    for split, own in zip((dataset.train, dataset.valid, dataset.test), rows, strict=True):
        assert split.sample_weight.tolist() == [row / 8 for row in own]
    dropped = [row for row in range(ROWS) if row % 5 == 0 and not made["click"][row]]
    assert sorted([*rows[0], *rows[1], *rows[2], *dropped]) == list(range(ROWS))


def test_numbers_as_text_are_times_too(load):
    given = columns(t=[str(i) for i in range(5, 105)])
    dataset = load(given, FEATURES, split_type="time", split_col="t", test_size=3)
    assert rows_of(dataset)[2] == [97, 98, 99]


def test_a_missing_time_is_named_with_its_row(load):
    given = columns(t=["1"] * 50 + [""] * 50)
    with pytest.raises(DataError, match="train.csv, column 't', row 51: .* it is missing"):
        load(given, FEATURES, split_type="time", split_col="t", test_size=3)


def test_a_split_by_user_keeps_users_whole(load):
    users = np.random.default_rng(2).integers(0, 20, ROWS)
    given = {"split_type": "user", "split_col": "user", "valid_size": 0.2, "test_size": 0.3}
    parts = rows_of(load(columns(user=users.tolist()), FEATURES, **given))
    held = [set(users[part]) for part in parts]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]
    assert len(parts[1]) >= 10
    assert 30 <= len(parts[2]) <= 40
    other = rows_of(load(columns(user=users.tolist()), FEATURES, split_seed=3, **given))
    assert other != parts


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_user_that_another_file_writes_with_a_point_is_the_same_user(options, write, tmp_path, suffix):
    users = [number // 2 for number in range(ROWS)]
    write(f"part_1.{suffix}", columns(user=users))
    write(
        f"part_2.{suffix}",
        columns(user=[float(user) for user in users[:-1]] + [None], row=list(range(ROWS, 2 * ROWS))),
    )
    given = {"split_type": "user", "split_col": "user", "valid_size": 0.2, "test_size": 0.3}
    stanza = options(tmp_path / f"part_*.{suffix}", FEATURES, data_format=suffix, **given)
    dataset = load_dataset(stanza, [parse_task("ctr", "click")], "users", threads=1, progress=False)
    names = np.array(users + users[:-1] + [-1])
    held = [set(names[part]) for part in rows_of(dataset)]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]


def test_a_column_may_say_the_split(load):
    said = ["Train"] * 60 + ["val"] * 20 + ["valid"] * 5 + ["test"] * 15
    train, valid, test = rows_of(load(columns(part=said), FEATURES, split_type="column", split_col="part"))
    assert (len(train), len(valid), len(test)) == (60, 25, 15)


def test_another_word_in_the_split_column_is_named_with_its_row(load):
    with pytest.raises(
        DataError, match=r"column 'part', row 100: 'Dev' is not train, valid \(or val\) or test"
    ):
        load(columns(part=["train"] * 99 + ["Dev"]), FEATURES, split_type="column", split_col="part")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split_type": "tiem"}, r"split_type 'tiem' is unknown. Did you mean 'time'\?"),
        ({"split_type": "time", "test_size": 3}, "split_type time needs split_col"),
        ({"test_size": -1}, "test_size -1 is negative"),
        ({"test_size": 100}, "leave nothing for training: train_data has 100 rows"),
        ({"valid_size": 0.5, "test_size": 0.5}, "leave nothing for training"),
        ({"valid_size": 0.5, "valid_data": "train.csv"}, "valid_data and valid_size are both given"),
        ({"split_type": "column", "split_col": "x", "test_size": 0.5}, "remove test_data and test_size"),
        ({"split_type": "user", "split_col": "usr", "test_size": 0.5}, "no column 'usr'"),
    ],
)
def test_splits_that_cannot_be_are_named(load, given, message):
    with pytest.raises(DataError, match=message):
        load(columns(), FEATURES, **given)
