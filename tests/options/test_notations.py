"""What options of layers may say."""

import pytest

from fuxi_mtl.options.layers import penalty


@pytest.mark.parametrize(
    ("notation", "strengths"),
    [
        (None, (0, 0)),
        (0, (0, 0)),
        (1e-3, (0, 1e-3)),
        ("1e-3", (0, 1e-3)),
        ("l1(0.5)", (0.5, 0)),
        ("l2(0.5)", (0, 0.5)),
        ("l1_l2(0.1, 0.2)", (0.1, 0.2)),
    ],
)
def test_the_notation_of_a_penalty(notation, strengths):
    assert penalty(notation) == strengths


@pytest.mark.parametrize(
    "notation", ["l3(1)", "l1()", "l1(1,2)", "l1_l2(1)", "l1_l2(1,2,3)", "strong", "l2(x)"]
)
def test_an_unreadable_penalty_says_what_to_write(notation):
    with pytest.raises(ValueError, match="write a number, 'l1\\(1e-5\\)'") as error:
        penalty(notation)
    assert repr(notation) in str(error.value)


@pytest.mark.parametrize("notation", [-1, "l2(-1)", "l1_l2(0,-1)"])
def test_a_penalty_is_not_negative(notation):
    with pytest.raises(ValueError, match="is negative"):
        penalty(notation)
