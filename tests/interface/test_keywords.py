"""The types of keywords are those of the options that they set."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from fuxi_mtl.interface.keywords import DataOptions, FitOptions
from fuxi_mtl.options import SECTIONS, Family

OF_TRAINING = ("loss", "loss_weight", "surgery", "trackers")
NOT_OF_FIT = ("options", "dataset", "pareto")
NOT_OF_DATA = {"train_data", "valid_data", "test_data", "feature_cols", "label_col", "sample_weight"}


def widened(hint: Any) -> Any:
    """What a caller may give for an option of this type: any sequence for a list, any mapping for a dict."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(widened, arguments))]  # noqa: UP007
    if dataclasses.is_dataclass(hint):
        return Mapping[str, Any]
    if hint is dict or origin is dict:
        return Mapping[str, widened(arguments[1]) if arguments else Any]
    if hint is list or origin is list:
        return Sequence[widened(arguments[0]) if arguments else Any]
    return hint


def declared(section: type) -> dict[str, Any]:
    return {name.removesuffix("_"): widened(hint) for name, hint in typing.get_type_hints(section).items()}


def test_fit_takes_every_option_of_training_with_its_type():
    expected = {"loss": str | Sequence[str]}
    for name, section in SECTIONS.items():
        expected |= {} if name in NOT_OF_FIT else declared(section)
    of_training = [family for family in Family.known if family.key in OF_TRAINING]
    for member in (member for family in of_training for member in family.members):
        if isinstance(member.target, str):  # one of the library
            expected |= {key: widened(option.type) for key, option in member.options.items()}
    assert typing.get_type_hints(FitOptions) == expected


def test_dataset_takes_every_option_of_data_with_its_type():
    expected = {key: hint for key, hint in declared(SECTIONS["dataset"]).items() if key not in NOT_OF_DATA}
    assert typing.get_type_hints(DataOptions) == expected
