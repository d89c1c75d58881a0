"""The guide for those who come from FuxiCTR says what the tables of names say."""

from pathlib import Path

import pytest

from fuxi_mtl.config.foreign_names import (
    FEATURE_NAMES,
    FOREIGN_NAMES,
    FOREIGN_VALUES,
    FORK,
    FUXICTR,
    FUXICTR_MODELS,
    ForeignName,
)
from fuxi_mtl.config.nested_names import NESTED_NAMES

GUIDE = Path(__file__).parents[2] / "docs" / "fuxictr.md"


def row(theirs: str, name: ForeignName, of: str = "") -> str:
    """A line of a table of the guide."""
    values = ", ".join(f"`{each}` is `{ours}`" for each, ours in name.values.items())
    ours = f"`{name.ours}`" if name.ours else "left out" if name.same or name.computed else "refused"
    remark = f"{values}. {name.advice}" if values else name.advice
    cells = [f"`{theirs}`", ours, *([of] if of else []), remark]
    return f"| {' | '.join(cells)} |"


def named() -> list[str]:
    """The rows about FuxiCTR and its fork."""
    whose = {FUXICTR: "FuxiCTR", FORK: "fork"}
    keys = {key: name for key, name in FOREIGN_NAMES.items() if name.of in whose}
    rows = [row(key, name, whose[name.of]) for key, name in keys.items()]
    rows += [row(f"feature_cols: {key}", name, whose[name.of]) for key, name in FEATURE_NAMES.items()]
    for key, values in FOREIGN_VALUES.items():
        for theirs, ours in values.items():
            of = whose[FUXICTR if theirs in FUXICTR_MODELS else FORK]
            rows.append(f"| `{key}: {theirs}` | `{key}: {ours}` | {of} |  |")
    return rows


def nested() -> list[str]:
    """The rows about a file with all of an experiment."""
    return [row(path, name) for path, name in NESTED_NAMES.items()]


@pytest.mark.parametrize("rows", [named, nested])
def test_the_guide_has_every_name(rows):
    missing = [each for each in rows() if each not in GUIDE.read_text().splitlines()]
    assert not missing, "\n".join(missing)


def test_the_guide_has_no_other_name():
    lines = GUIDE.read_text().splitlines()
    head = lines.index("| theirs | here | whose | |")
    known = {*named(), *nested()}
    others = [line for line in lines[head:] if line.startswith("| `") and line not in known]
    assert others == []
