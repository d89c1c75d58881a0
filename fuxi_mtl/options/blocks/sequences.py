"""The block ``sequences``: groups of aligned columns, and how each becomes one vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.declaring import MOST_LENGTH, MOST_WIDTH, option
from fuxi_mtl.options.encoders import ENCODERS
from fuxi_mtl.options.values import block

TIME_IDS = 34  # of category_processor log2_bucket: padding, 32 logarithms and one for what is missing


@dataclass(frozen=True)
class SequenceFilter:
    """The entry ``filter`` of a group: events of the target's own category alone."""

    column: str = option("", "The column of events that must be as the target's.", example="cate_history")
    keep: int = option(50, "How many of them are read, the newest.", least=1, most=MOST_LENGTH)

    def __post_init__(self):
        if not self.column:
            raise ValueError("column is missing: name the column of events that is compared.")


@dataclass(frozen=True)
class SequenceGroup:
    """Columns of the same events, such as items, their categories and what was done, read together.

    Which positions are events is what the first column says; another column may lack an entry there. What
    comes out takes the place of all of its columns in the input of the network.

    Raises:
        ValueError: Options that exclude each other.

    Example:
        >>> history = fm.SequenceGroup(columns={"recent": "item_id"}, encoder="din")
        >>> history.encoder
        'din'
    """

    columns: dict[str, str | None] = option(
        {},
        "Columns of type sequence, each with the feature of the target that it is compared with and whose "
        "table it shares (share_embedding); null where the target has none.",
        example="{click_history: item_id, cate_history: cate_id}",
    )
    extra: list[str] = option(
        [], "More columns of the same events that the target has no counterpart of.", example="[action]"
    )
    time: str | None = option(
        None,
        "A column with how long each event lies back, of category_processor log2_bucket.",
        example="click_gaps",
    )
    time_dim: int = option(4, "Width of the vector of a gap of time.", least=1, most=MOST_WIDTH)
    position: Literal["none", "learned", "sinusoid"] = option(
        "none", "Whether an event knows how many newer ones there are, as a vector that is trained or not."
    )
    position_dim: int = option(4, "Width of the vector of a position.", least=1, most=MOST_WIDTH)
    join: Literal["concat", "add"] = option(
        "concat", "How vectors of times and positions join those of the events; add takes their width."
    )
    combine: Literal["concat", "sum", "project"] = option(
        "concat",
        "How the columns of an event become one vector: side by side, their sum, or side by side and a "
        "product to combine_dim.",
    )
    combine_dim: int | None = option(
        None, "Width of an event under combine: project.", least=1, most=MOST_WIDTH
    )
    max_len: int | None = option(
        None, "Events that are read, the newest; all unless said.", least=1, most=MOST_LENGTH
    )
    on_ragged: Literal["raise", "cut"] = option(
        "raise",
        "What a row is whose columns differ in length: an error, or cut to the shortest of them, which has "
        "to be right from the first event on.",
    )
    filter: SequenceFilter | None = option(None, "Only events of the target's category; null for all.")
    encoder: str | dict = option(
        "mean",
        "How events become one vector; a type, or a block of that type with its options.",
        ENCODERS,
        example="{type: din, hidden_units: [64], normalizer: none}",
    )

    def __post_init__(self):
        if not self.columns:
            raise ValueError("columns is missing: name the columns of the history.")
        if (self.combine == "project") != (self.combine_dim is not None):
            raise ValueError("combine: project and combine_dim need each other.")
        names = [*self.columns, *self.extra, *([] if self.time is None else [self.time])]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is named twice.")
        if isinstance(self.filter, SequenceFilter) and not self.columns.get(self.filter.column):
            known = ", ".join(name for name, target in self.columns.items() if target) or "none"
            raise ValueError(
                f"filter.column is {self.filter.column!r}; it is one of columns that has a target: {known}."
            )

    @property
    def consumed(self) -> tuple[str, ...]:
        """The columns whose place the encoded history takes."""
        return (*self.columns, *self.extra, *([] if self.time is None else [self.time]))


def check_group(name: str, group: SequenceGroup, features: FeatureMap, widths: Mapping[str, int]) -> None:
    """Refuses a group whose columns are no histories of its targets.

    Args:
        name: Of the group.
        group: The group.
        features: The inputs.
        widths: Width of the vectors of each feature with ids.

    Raises:
        ValueError: A column is no input or no sequence, has weights or another length, or shares no table
            with its target; a target is no single id; columns that are added have several widths; a
            column of times is none.
    """
    known = {feature.name: feature for feature in features.features}
    first = next(iter(group.columns))
    for column in group.consumed:
        feature = _known(f"sequences.{name}", column, known)
        if feature.type != "sequence":
            raise ValueError(
                f"sequences.{name}: {column!r} is of type {feature.type}; a history has type: sequence."
            )
        if feature.weighted:
            raise ValueError(
                f"sequences.{name}: {column!r} has weights, which no encoder reads. Take them out of "
                "feature_cols, or leave the column a bag."
            )
        if (feature.max_len, feature.order) != (known[first].max_len, known[first].order):
            raise ValueError(
                f"sequences.{name}: {column!r} has {feature.max_len} places and order {feature.order}, but "
                f"{first!r} {known[first].max_len} and {known[first].order}. Columns of the same events have "
                "one max_len, padding and order."
            )
    if group.time is not None and known[group.time].vocab_size != TIME_IDS:
        raise ValueError(
            f"sequences.{name}: time names {group.time!r}, which is no column of times: it has "
            f"{known[group.time].vocab_size} ids. Give it category_processor: log2_bucket in feature_cols "
            "(seconds since each event), or name it in extra."
        )
    if group.on_ragged == "cut" and known[first].order is None:
        raise ValueError(
            f"sequences.{name}: on_ragged: cut needs to know which events a history that is too long has "
            f"lost. Give {', '.join(group.consumed)} an order in feature_cols, oldest_first or newest_first."
        )
    for column, target in group.columns.items():
        if target is None:
            continue
        feature = _known(f"sequences.{name}.columns.{column}", target, known)
        if feature.type != "categorical":
            raise ValueError(
                f"sequences.{name}: the target {target!r} of {column!r} is of type {feature.type}; it is a "
                "single id, categorical."
            )
        if features.owner(feature) != features.owner(known[column]):
            raise ValueError(
                f"sequences.{name}: {column!r} and its target {target!r} have tables of their own. Give "
                f"{column!r} share_embedding: {target} in feature_cols."
            )
    looked_up = (*group.columns, *group.extra)
    if group.combine == "sum" and len({widths[column] for column in looked_up}) > 1:
        told = ", ".join(f"{column} {widths[column]}" for column in looked_up)
        raise ValueError(f"sequences.{name}: combine: sum adds vectors of one width, not of {told}.")


def _known(where: str, name: str, known: Mapping[str, Feature]) -> Feature:
    if name not in known:
        raise ValueError(
            f"{where} names {name!r}, which is no input.{did_you_mean(name, known)} Inputs: "
            f"{', '.join(known)}."
        )
    return known[name]


def as_groups(sequences: Mapping | None) -> dict[str, SequenceGroup]:
    """Groups by name, from what a stanza or a program gives."""
    given = (sequences or {}).items()
    return {name: block(SequenceGroup, group, f"sequences.{name}") for name, group in given}
