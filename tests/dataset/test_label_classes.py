"""Labels of several classes: declared or learnt, and what is none of them."""

import logging

import numpy as np
import polars as pl
import pytest

import fuxi_mtl as fm
from fuxi_mtl.dataset.label_classes import LabelClasses
from fuxi_mtl.options import LabelOptions


def data(train, valid, **label):
    def frame(act):
        return pl.DataFrame({"item": list(range(len(act))), "act": act})

    return fm.Dataset(
        frame(train),
        valid_data=frame(valid),
        features=[fm.Categorical("item")],
        labels=[fm.Label("act", **label)],
    )


def ids(loaded, split):
    return getattr(loaded, split).labels([fm.Task("act", ("act",), kind="classes")])["act"].tolist()


def encoded(dataset):
    return dataset.encoded(dataset.tasks)


def test_learnt_classes_are_those_of_training_rows_and_others_are_missing_counted_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        found = encoded(data(["b", "a", None, "b"], ["b", "new", "a", ""], kind="classes"))
    assert found.feature_map.label_classes == {"act": ("a", "b")}
    np.testing.assert_array_equal(ids(found, "train"), [1, 0, np.nan, 1])
    np.testing.assert_array_equal(ids(found, "valid"), [1, np.nan, 0, np.nan])
    assert "'act': 1 entries are of classes that no training row has ('new')" in caplog.text


def test_numbers_are_ordered_by_size_and_a_point_says_nothing():
    found = encoded(data([10.0, 9.0, None, 2.0], [9, 10], kind="classes"))
    assert found.feature_map.label_classes == {"act": ("2", "9", "10")}
    assert ids(found, "valid") == [1, 2]


def test_a_declared_number_is_one_class_however_it_is_written():
    decoder = {"type": "softmax", "classes": ["1.0", 2.0, "none"]}
    found = encoded(data(["1", "2.0", "none"], ["1.0"], decoder=decoder))
    assert found.feature_map.label_classes == {"act": ("1", "2", "none")}
    assert (ids(found, "train"), ids(found, "valid")) == ([0, 1, 2], [0])
    with pytest.raises(ValueError, match="classes has '1' twice"):
        encoded(data(["1"], ["1"], decoder={"type": "softmax", "classes": [1, "1.0"]}))


def test_rows_that_are_cut_off_the_training_file_define_no_class():
    dataset = fm.Dataset(
        pl.DataFrame({"item": [1, 2, 3, 4], "act": ["a", "b", "a", "late"]}),
        valid_size=1,
        split_type="sequential",
        features=[fm.Categorical("item")],
        labels=[fm.Label("act", kind="classes")],
    )
    found = encoded(dataset)
    assert found.feature_map.label_classes == {"act": ("a", "b")}
    assert np.isnan(ids(found, "valid")).all()


def test_a_declared_list_gives_the_order_and_refuses_anything_else_with_its_row():
    decoder = {"type": "softmax", "classes": ["none", "like", 2]}
    found = encoded(data(["like", "none", "2"], ["2", "-1"], decoder=decoder, mask_value=-1))
    assert found.feature_map.label_classes == {"act": ("none", "like", "2")}
    np.testing.assert_array_equal(ids(found, "train"), [1, 0, 2])
    np.testing.assert_array_equal(ids(found, "valid"), [2, np.nan])
    bad = data(["like", "none"], ["like", "share"], decoder=decoder)
    with pytest.raises(
        ValueError, match=r"valid_data, column 'act', row 2: 'share' is not one of its classes, none, like, 2"
    ):
        encoded(bad)


@pytest.mark.parametrize(
    ("train", "label", "message"),
    [
        (["a", "a"], {"kind": "classes"}, "label 'act' has one class, 'a' in the training rows"),
        ([None, None], {"kind": "classes"}, "label 'act' has no class in the training rows"),
        (list(range(1001)), {"kind": "classes"}, r"more than 1,000 classes, such as .*kind: value"),
        (["a", "b"], {"decoder": {"type": "softmax", "classes": ["a"]}}, "classes has 1 of them"),
        (["a", "b"], {"decoder": {"type": "softmax", "classes": ["a", "b", "a"]}}, "has 'a' twice"),
    ],
)
def test_too_few_too_many_and_repeated_classes_are_refused(train, label, message):
    with pytest.raises(ValueError, match=message):
        encoded(data(train, train[:1], **label))


@pytest.mark.parametrize(
    ("label", "tasks", "message"),
    [
        (
            {"decoder": {"type": "softmax", "values": [0, 1]}},
            None,
            "has values, a number for each class, but no",
        ),
        ({}, {"both": "act & click"}, "'act' is one of several classes, which neither happens nor fails to"),
        ({}, {"c": "click | act"}, "conditions and joint events are of labels of 0 and 1"),
    ],
)
def test_what_does_not_fit_classes_is_refused_before_data_are_read(label, tasks, message):
    with pytest.raises(ValueError, match=message):
        fm.Dataset(
            "nowhere.csv",
            valid_size=0.1,
            features=[fm.Categorical("item")],
            labels=[fm.Label("act", kind="classes", **label)],
            tasks=tasks,
        )


def test_ids_go_on_from_what_was_kept_of_an_encoding_that_was_stopped():
    label = LabelOptions("act", kind="classes")
    first = LabelClasses.of(label)
    before = first.read(pl.Series("act", ["z", "b", "z"]))
    first.observe(before)
    second = LabelClasses.of(label)
    second.restore(first.state())
    second.observe(second.read(pl.Series("act", ["a"])))
    second.settle()
    assert second.tokens == ["a", "b", "z"]
    assert second.settled(before).tolist() == [2, 1, 2]
    # Behind the first pass ids are settled, and another class is missing.
    third = LabelClasses.of(label)
    third.restore(second.state())
    assert third.settled(before).tolist() == [2, 1, 2]
    assert np.isnan(third.read(pl.Series("act", ["new"]))).all()
    assert third.unknown == {"new": 1}
