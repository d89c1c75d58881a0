"""Users, items and hours with the latent factors that the rows do not show.

Factors are whitened in the drawn world (mean 0, covariance 1, over users and items as often as they are
shown): what the settings say about correlations then holds exactly in it, not only on average over worlds.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from fuxi_mtl.simulation.settings import FunnelSettings

FACTORS = 8  # of users and items; even, because drift turns them in pairs
HOURS = 24
TRAITS = 4
OTHER_TAGS = 20
MOST_TAGS = FACTORS + 1


def stream(seed: int, *place: int) -> np.random.Generator:
    """Random numbers of one place (the world, one block); places do not depend on one another."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


@dataclass(frozen=True)
class Users:
    """What belongs to a user.

    Attributes:
        shown: ``(users,)`` running sums of the chances to be the user of a request.
        taste: ``(users, FACTORS)`` for items.
        rhythm: ``(users, FACTORS)`` for hours.
        leaning: ``(users, 2)`` towards clicking and towards converting.
        traits: ``(users, TRAITS)`` observed numbers: the first tastes, with error.
    """

    shown: np.ndarray
    taste: np.ndarray
    rhythm: np.ndarray
    leaning: np.ndarray
    traits: np.ndarray


@dataclass(frozen=True)
class Items:
    """What belongs to an item.

    Attributes:
        shown: ``(items,)`` running sums of the chances to be shown.
        signs: ``(items, FACTORS)`` of -1 and 1.
        appeal: ``(items, 2)`` of its picture (click) and its worth (conversion).
        category: ``(items,)`` observed: the first three signs.
        log_price: ``(items,)`` observed: high where the worth is low, with error.
        tags: Observed texts such as ``3^9^21``: some of the signs, with errors, and one tag without meaning.
    """

    shown: np.ndarray
    signs: np.ndarray
    appeal: np.ndarray
    category: np.ndarray
    log_price: np.ndarray
    tags: pl.Series


@dataclass(frozen=True)
class World:
    """Everything but the exposures.

    Attributes:
        users: The users.
        items: The items.
        hours: ``(HOURS, FACTORS)`` of -1 and 1.
        weights: ``(FACTORS, 3)`` unit columns: of the tastes for clicking, converting and carting.
        hour_weights: ``(FACTORS, 3)`` the same for hours.
    """

    users: Users
    items: Items
    hours: np.ndarray
    weights: np.ndarray
    hour_weights: np.ndarray


def make_world(settings: FunnelSettings) -> World:
    """Draws users, items, hours and the weights of the tasks; it does not depend on the number of rows."""
    draws = stream(settings.seed, 0)
    weights = [task_weights(draws, settings.task_correlation) for _ in range(2)]
    hours = _signs(draws, HOURS)
    return World(_make_users(draws, settings), _make_items(draws, settings), hours, *weights)


def task_weights(draws: np.random.Generator, cosine: float) -> np.ndarray:
    """Unit vectors of click, conversion and cart; the first two have this cosine, the third none.

    Returns:
        ``(FACTORS, 3)``.
    """
    orthogonal, _ = np.linalg.qr(draws.standard_normal((FACTORS, 3)))
    conversion = cosine * orthogonal[:, 0] + np.sqrt(1 - cosine**2) * orthogonal[:, 1]
    return np.column_stack([orthogonal[:, 0], conversion, orthogonal[:, 2]])


def whitened(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Columns with mean 0, variance 1 and no correlation under the weights.

    Args:
        values: ``(rows, columns)``, more rows than columns.
        weights: ``(rows,)``, of sum 1.
    """
    centred = values - weights @ values
    lower = np.linalg.cholesky(centred.T @ (weights[:, None] * centred))
    return np.linalg.solve(lower, centred.T).T


def correlated(pair: np.ndarray, correlation: float) -> np.ndarray:
    """Two columns without correlation, the second turned towards the first."""
    first, second = pair.T
    return np.column_stack([first, correlation * first + np.sqrt(1 - correlation**2) * second])


def _signs(draws: np.random.Generator, rows: int) -> np.ndarray:
    # Signs, not normal numbers: given the item, the scores of two tasks with orthogonal weights are then
    # independent over users, so that without selection clicked rows convert like all others.
    return np.where(draws.random((rows, FACTORS)) < 0.5, -1.0, 1.0)


def _make_users(draws: np.random.Generator, settings: FunnelSettings) -> Users:
    activity = np.exp(0.8 * draws.standard_normal(settings.users))
    activity /= activity.sum()
    factors = whitened(draws.standard_normal((settings.users, 2 * FACTORS + 2)), activity)
    taste, rhythm, leaning = np.split(factors, [FACTORS, 2 * FACTORS], axis=1)
    return Users(
        shown=np.cumsum(activity),
        taste=taste,
        rhythm=rhythm,
        leaning=correlated(leaning, settings.task_correlation),
        traits=0.8 * taste[:, :TRAITS] + 0.6 * draws.standard_normal((settings.users, TRAITS)),
    )


def _make_items(draws: np.random.Generator, settings: FunnelSettings) -> Items:
    popularity = 1 / (10 + draws.permutation(settings.items)) ** 0.8
    popularity /= popularity.sum()
    appeal = whitened(draws.standard_normal((settings.items, 2)), popularity)
    appeal = correlated(appeal, settings.task_correlation)
    signs = _signs(draws, settings.items)
    error = draws.standard_normal(settings.items)
    return Items(
        shown=np.cumsum(popularity),
        signs=signs,
        appeal=appeal,
        category=((signs[:, :3] > 0) @ [1, 2, 4]).astype(np.int64),
        log_price=3 + 0.8 * (0.8 * error - 0.6 * appeal[:, 1]),
        tags=_tags(draws, signs),
    )


def _tags(draws: np.random.Generator, signs: np.ndarray) -> pl.Series:
    """Bags of tags: sign k shows as ``2k`` or ``2k + 1`` on seven items of ten, one in ten of them wrong."""
    wrong = draws.random(signs.shape) < 0.1
    shows = draws.random(signs.shape) < 0.7
    numbers = 2 * np.arange(FACTORS) + ((signs > 0) ^ wrong)
    other = 2 * FACTORS + draws.integers(0, OTHER_TAGS, len(signs))
    bags = [[*row[kept], last] for row, kept, last in zip(numbers, shows, other, strict=True)]
    return pl.Series("tags", ["^".join(map(str, bag)) for bag in bags])
