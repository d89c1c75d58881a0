"""Settings of simulated data, read and checked before anything is drawn."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fuxi_mtl.hints import among
from fuxi_mtl.options import MOST_OF_SEEDS, checked, option

POSITIONS = 10  # exposures of a request
LEAST_ROWS = 10 * POSITIONS


@dataclass(frozen=True)
class FunnelSettings:
    """Settings of the click funnel; the equations are those of :mod:`fuxi_mtl.simulation.funnel`."""

    rows: int = option(200_000, "Exposures in all, in order of time.", least=LEAST_ROWS)
    valid_share: float = option(0.1, "Share of the rows for validation.", least=0, below=1)
    test_share: float = option(0.2, "Share of the rows for testing, the latest ones.", least=0, below=1)
    users: int = option(5_000, "Number of users.", least=50)
    items: int = option(1_000, "Number of items.", least=20)
    click_rate: float = option(0.1, "Clicks per exposure.", above=0, below=1)
    cart_rate: float = option(0.2, "Carts per click.", above=0, below=1)
    conversion_rate: float = option(0.1, "Conversions per click, as a log would show them.", above=0, below=1)
    click_signal: float = option(
        1.0, "Standard deviation of the click's logit that features explain.", least=0
    )
    conversion_signal: float = option(1.0, "The same of the conversion's logit.", least=0)
    cart_effect: float = option(2.0, "What a cart adds to the logit of a conversion.")
    selection: float = option(
        0.0, "What one standard deviation of the conversion's score adds to the click's logit."
    )
    confounding: float = option(
        0.0, "Weight of a hidden N(0, 1) factor of each exposure in both logits; negative: opposite signs."
    )
    task_correlation: float = option(
        0.0, "Correlation of the scores of click and conversion.", least=-1, most=1
    )
    noise: float = option(
        0.0, "Share of decisions that are made at random, at the base rate.", least=0, below=1
    )
    drift: float = option(0.0, "Angle, in radians, by which tastes have turned at the last row.")
    arrivals: float = option(
        0.0,
        "Share of the items that arrive one by one; the others are there at first.",
        least=0,
        below=1,
    )
    seed: int = option(2026, "Seed of everything random.", least=0, most=MOST_OF_SEEDS)


@dataclass(frozen=True)
class RegressionSettings:
    """Settings of the two regressions; see :mod:`fuxi_mtl.simulation.regression`."""

    rows: int = option(100_000, "Rows in all.", least=LEAST_ROWS)
    valid_share: float = option(0.1, "Share of the rows for validation.", least=0, below=1)
    test_share: float = option(0.2, "Share of the rows for testing.", least=0, below=1)
    dimensions: int = option(100, "Numbers in a row.", least=2)
    task_correlation: float = option(0.5, "Cosine of the two tasks' weight vectors.", least=-1, most=1)
    scale: float = option(1.0, "Length of the weight vectors.", least=0)
    sinusoids: int = option(4, "Sinusoids in each label.", least=0)
    noise: float = option(0.1, "Standard deviation of the labels' noise.", least=0)
    seed: int = option(2026, "Seed of everything random.", least=0, most=MOST_OF_SEEDS)


Settings = FunnelSettings | RegressionSettings
GENERATORS: dict[str, type[FunnelSettings] | type[RegressionSettings]] = {
    "funnel": FunnelSettings,
    "regression": RegressionSettings,
}
PRESETS: dict[str, dict[str, float]] = {
    "default": {},
    # The rates of Ali-CCP: 3.9 % clicks, 0.5 % of them converted, so 0.02 % joint positives.
    "ali_ccp": {
        "rows": 1_000_000,
        "users": 100_000,
        "items": 50_000,
        "click_rate": 0.039,
        "cart_rate": 0.05,
        "conversion_rate": 0.005,
        "task_correlation": 0.3,
    },
}


def make_settings(
    generator: str = "funnel", preset: str = "default", given: Mapping[str, float] | None = None
) -> Settings:
    """Settings of a generator: its defaults, then a preset, then what is given.

    Raises:
        ValueError: The generator, the preset or a setting is unknown, or a value is out of its range.
    """
    if generator not in GENERATORS:
        raise ValueError(f"unknown generator {generator!r}.{among(generator, GENERATORS)}")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}.{among(preset, PRESETS)}")
    if generator != "funnel" and PRESETS[preset]:
        raise ValueError(f"preset {preset!r} is one of the generator 'funnel', not of {generator!r}.")
    kind = GENERATORS[generator]
    known = [field.name for field in dataclasses.fields(kind)]
    for name in given or {}:
        if name not in known:
            raise ValueError(f"unknown setting {name!r} of the generator {generator!r}.{among(name, known)}")
    return checked_settings(kind(**{**PRESETS[preset], **(given or {})}))  # type: ignore[arg-type]


def read_settings(generator: str, preset: str, assignments: Sequence[str]) -> Settings:
    """Settings from ``key=value`` texts.

    Raises:
        ValueError: As :func:`make_settings`; a text is no assignment, or a value is no number.
    """
    types = {
        field.name: field.type for field in dataclasses.fields(GENERATORS.get(generator, FunnelSettings))
    }
    given: dict[str, float] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: write key=value, such as rows=1000000.")
        given[name] = _number(name, value, whole=types.get(name) in (int, "int"))
    return make_settings(generator, preset, given)


def _number(name: str, text: str, *, whole: bool) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"--set {name}={text}: {text!r} is no number.") from None
    if whole and not number.is_integer():
        raise ValueError(f"--set {name}={text}: {name} is a whole number.")
    return int(number) if whole else number


def checked_settings(settings: Settings) -> Settings:
    """The same settings, if data can be made of them.

    Raises:
        ValueError: With each setting that is out of its range, or shares that leave nothing to train on.
    """
    settings = checked(settings)
    shares = (settings.valid_share, settings.test_share)
    if sum(shares) >= 1:
        raise ValueError(f"valid_share {shares[0]:g} and test_share {shares[1]:g} leave no rows to train on.")
    return settings


def split_rows(settings: Settings) -> dict[str, tuple[int, int]]:
    """First row and the row behind the last of each split that has any, in whole requests."""
    unit = POSITIONS if isinstance(settings, FunnelSettings) else 1
    sizes = [
        int(share * settings.rows) // unit * unit for share in (settings.valid_share, settings.test_share)
    ]
    borders = [0, settings.rows - sum(sizes), settings.rows - sizes[1], settings.rows]
    found = zip(("train", "valid", "test"), borders[:-1], borders[1:], strict=True)
    return {name: (start, stop) for name, start, stop in found if stop > start}
