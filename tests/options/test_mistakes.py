"""Mistakes that are told at once."""

import pytest

from fuxi_mtl.options.mistakes import UNJUDGED, Mistakes, UnjudgedError, together
from fuxi_mtl.options.source_location import ConfigError, SourceLocation


def mistake(line, text="wrong"):
    return ConfigError(SourceLocation("a.yaml", line), text)


def test_a_single_mistake_is_raised_as_it_is():
    found = Mistakes()
    error = mistake(3)
    with found.noted():
        raise error
    with pytest.raises(ConfigError) as caught:
        found.tell()
    assert caught.value is error


def test_several_are_listed_by_line_and_each_once():
    found = Mistakes()
    for line in (7, 3, 7):
        with found.noted():
            raise mistake(line, "wrong.\n  Keys: a")
    with pytest.raises(ConfigError) as caught:
        found.tell()
    assert str(caught.value) == (
        "2 mistakes:\n  a.yaml, line 3: wrong.\n    Keys: a\n  a.yaml, line 7: wrong.\n    Keys: a"
    )


def test_an_error_of_several_is_taken_apart_again():
    found = Mistakes()
    with found.noted():
        raise together([mistake(2), mistake(1)])
    assert len(found.found) == 2


def test_of_mistakes_of_one_cause_the_first_is_noted():
    found = Mistakes()
    for line in (1, 2):
        with found.noted(cause="loss"):
            raise mistake(line)
    assert [str(each) for each in found.found] == ["a.yaml, line 1: wrong"]


def test_without_a_mistake_nothing_is_told():
    found = Mistakes()
    with found.noted():
        pass
    found.tell()


@pytest.mark.parametrize(
    "use",
    [
        lambda value: value.name,
        lambda value: value[0],
        list,
        lambda value: value > 1,
        lambda value: value == 1,
        lambda value: not value,
        lambda value: isinstance(value, str),
        lambda value: f"{value}",
        lambda value: value + 1,
        lambda value: 1 in value,
    ],
)
def test_an_unjudged_value_ends_the_judgement_that_uses_it_and_is_no_mistake(use):
    with pytest.raises(UnjudgedError):
        use(UNJUDGED)
    found = Mistakes()
    with found.noted():
        use(UNJUDGED)
    found.tell()
