"""Bounds of options in words, and options that a program has made."""

import pytest

from fuxi_mtl.options import FusionOptions, LtrOptions, SearchOptions, TrainingOptions, checked, option


@pytest.mark.parametrize(
    ("bounds", "words", "wrong", "said"),
    [
        ({"least": 1}, "from 1", 0, "the least is 1"),
        ({"above": 0}, "above 0", 0, "it must be above 0"),
        ({"most": 9}, "to 9", 10, "the most is 9"),
        ({"below": 0.5}, "below 0.5", 0.5, "it must be below 0.5"),
        ({"least": 0, "most": 2**32 - 1}, "from 0 to 4294967295", -1, "it lies from 0 to 4294967295"),
        ({"least": 0, "below": 1}, "from 0 to below 1", 1, "it lies from 0 to below 1"),
        ({"above": 0, "most": 1}, "above 0 and up to 1", 0, "it lies above 0 and up to 1"),
        ({"above": 0, "below": 1}, "above 0 and below 1", 1.5, "it lies above 0 and below 1"),
        ({}, "", None, None),
    ],
)
def test_bounds_are_said_in_one_form(bounds, words, wrong, said):
    declared = option("A number.", **bounds)
    assert declared.bounds == words
    assert declared.problem(wrong) == said
    assert declared.problem("text") is None
    assert declared.problem(True) is None


def test_bounds_that_are_kept_are_no_problem():
    declared = option("A share.", least=0, below=1)
    assert [declared.problem(each) for each in (0, 0.999)] == [None, None]


def test_options_that_a_program_has_made_are_checked_like_a_stanza_without_a_location():
    options = TrainingOptions(epochs=2.0, monitor={"AUC": 1})
    assert checked(options) == TrainingOptions(epochs=2, monitor={"AUC": 1.0})
    wrong = FusionOptions(method="products", search=SearchOptions(rounds=0), ltr=LtrOptions(held_out=1.0))
    with pytest.raises(ValueError, match="^3 mistakes:") as caught:
        checked(wrong)
    assert str(caught.value).splitlines()[1:] == [
        "  method is 'products'. Did you mean 'product'? Choices: product, sum, rank, ltr.",
        "  search.rounds is 0; the least is 1.",
        "  ltr.held_out is 1; it lies above 0 and below 1.",
    ]
