"""Generates train.csv, valid.csv and test.csv: exposure, click, cart, conversion, and watch time.

    python data/tiny_mtl/prepare.py [OUT_FOLDER] [--seed 2026]

OUT_FOLDER is this script's folder unless said. The same seed gives the same bytes: every draw is made from
uniform numbers, whose stream numpy does not change between versions, and every number is written with a fixed
number of digits.

A request is four exposures to one user, in order of time. Tastes are mostly common to all users, less a
matter of age, and a little a user's own. With the affinity a of a user's taste and an item's position (which
follows from its category and its weighted tags), the user's intent i, and the standardised logarithm p of
the price and age y::

    P(click)             = sigmoid(-1.4 + 1.8 a + 0.3 quality + device + 0.5 sin(2 pi hour / 24))
    P(cart | click)      = sigmoid(0.6 a + 0.4 i - 1.0 p)
    P(conversion | cart) = sigmoid(0.2 + 0.4 i - 0.6 p + 0.9 y)
    watch time, minutes  = exp(-0.7 + 0.4 a + 0.3 noise), of clicked rows
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

USERS, ITEMS, TAGS, LATENT = 300, 200, 24, 4
REQUESTS = {"train": 1000, "valid": 250, "test": 250}
EXPOSURES = 4  # of a request
LATE_ITEMS = 10  # exist only after the training requests
CATEGORIES = np.array(["books", "games", "garden", "kitchen", "music", "shoes", "sports", "toys"])
DEVICES = np.array(["mobile", "desktop", "tablet"])
DEVICE_EFFECT = np.array([0.4, 0.0, -0.4])
MAX_TAGS, MAX_RECENT = 4, 5


class Draws:
    """Random numbers of several kinds, all made from uniform ones."""

    def __init__(self, seed: int):
        self.uniform = np.random.Generator(np.random.PCG64(seed)).random

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers (Box and Muller)."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(shape)))
        return radius * np.cos(2 * np.pi * self.uniform(shape))

    def integers(self, low: int, high: np.ndarray | int, *shape: int) -> np.ndarray:
        """Integers of [low, high)."""
        return (low + self.uniform(shape) * (np.asarray(high) - low)).astype(np.int64)

    def happens(self, probability: np.ndarray | float, *shape: int) -> np.ndarray:
        """Whether each event happens."""
        return self.uniform(shape) < probability


@dataclass(frozen=True)
class World:
    """Users and items, with what the rows do not show: tastes, qualities and intents."""

    taste: np.ndarray  # (users, latent)
    intent: np.ndarray  # (users,)
    age: np.ndarray  # (users,)
    age_known: np.ndarray  # (users,)
    position: np.ndarray  # (items, latent)
    quality: np.ndarray  # (items,)
    category: np.ndarray  # (items,)
    price: np.ndarray  # (items,)
    tags: np.ndarray  # (items, MAX_TAGS)
    tag_weights: np.ndarray  # (items, MAX_TAGS), 0 where there is no tag


def make_world(draws: Draws) -> World:
    """Draws users, and items whose position follows from their category and their weighted tags."""
    centres, meanings = draws.normal(len(CATEGORIES), LATENT), draws.normal(TAGS, LATENT)
    category = draws.integers(0, len(CATEGORIES), ITEMS)
    tags = np.argsort(draws.uniform((ITEMS, TAGS)), axis=1)[:, :MAX_TAGS]  # distinct in an item
    count = draws.integers(1, MAX_TAGS + 1, ITEMS)
    weights = np.round(0.2 + 0.8 * draws.uniform((ITEMS, MAX_TAGS)), 1)
    weights = weights * (np.arange(MAX_TAGS) < count[:, None])
    blend = np.einsum("it,itd->id", weights, meanings[tags]) / weights.sum(1, keepdims=True)
    age = draws.integers(16, 80, USERS)
    common, by_age = draws.normal(LATENT), draws.normal(LATENT)
    return World(
        taste=common + 0.6 * standardised(age)[:, None] * by_age + 0.4 * draws.normal(USERS, LATENT),
        intent=draws.normal(USERS),
        age=age,
        age_known=draws.happens(0.9, USERS),
        position=0.8 * centres[category] + 0.8 * blend,
        quality=draws.normal(ITEMS),
        category=category,
        price=np.round(np.exp(3 + 0.8 * draws.normal(ITEMS)), 2),
        tags=tags,
        tag_weights=weights,
    )


def standardised(values: np.ndarray) -> np.ndarray:
    """Values with mean 0 and standard deviation 1."""
    return (values - values.mean()) / values.std()


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def joined(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The texts that are present in each row, as ``a^b^c``."""
    return np.array(["^".join(row[kept]) for row, kept in zip(values, present, strict=True)])


def shown(values: np.ndarray, pattern: str, present: np.ndarray | None = None) -> np.ndarray:
    """Numbers as text of a fixed pattern, empty where they are not present."""
    text = np.char.mod(pattern, values)
    return text if present is None else np.where(present, text, "")


def generate(seed: int) -> dict[str, np.ndarray]:
    """The columns of all rows, as text, in order of time.

    Args:
        seed: Of everything.

    Returns:
        ``(rows,)`` texts by column name.
    """
    draws = Draws(seed)
    world = make_world(draws)
    affinity = standardised(world.taste @ world.position.T)  # (users, items)
    requests = np.repeat(np.arange(sum(REQUESTS.values())), EXPOSURES)
    user = draws.integers(0, USERS, requests[-1] + 1)[requests]
    device = draws.integers(0, len(DEVICES), requests[-1] + 1)[requests]
    hour = draws.integers(0, 24, requests[-1] + 1)[requests]
    on_offer = np.where(requests < REQUESTS["train"], ITEMS - LATE_ITEMS, ITEMS)
    item = draws.integers(0, on_offer, len(requests))
    outcomes = draw_outcomes(draws, world, affinity[user, item], user, item, device, hour)
    # Of ten random items, those the user likes best.
    offered = draws.integers(0, ITEMS - LATE_ITEMS, len(requests), 2 * MAX_RECENT)
    order = np.argsort(-affinity[user[:, None], offered], axis=1, kind="stable")[:, :MAX_RECENT]
    recent = np.take_along_axis(offered, order, axis=1)
    recent_count = draws.integers(0, MAX_RECENT + 1, len(requests))
    item_ids = 10_000 + 7 * np.arange(ITEMS)
    return {
        "request_id": shown(requests, "r%05d"),
        "user_id": shown(user, "u%04d"),
        "item_id": shown(item_ids[item], "%d"),
        "category": CATEGORIES[world.category[item]],
        "device": np.where(draws.happens(0.95, len(item)), DEVICES[device], ""),
        "hour": shown(hour, "%d"),
        "age": shown(world.age[user], "%d", world.age_known[user]),
        "price": shown(world.price[item], "%.2f", draws.happens(0.97, len(item))),
        "tags": joined(shown(world.tags, "t%02d"), world.tag_weights > 0)[item],
        "tag_weights": joined(shown(world.tag_weights, "%.1f"), world.tag_weights > 0)[item],
        "recent_items": joined(shown(item_ids[recent], "%d"), np.arange(MAX_RECENT) < recent_count[:, None]),
        **outcomes,
    }


def draw_outcomes(draws, world, affinity, user, item, device, hour) -> dict[str, np.ndarray]:
    """The labels of each row, by the equations at the top of this file; all but affinity are indices."""
    intent, age = world.intent[user], standardised(world.age)[user]
    price = standardised(np.log(world.price))[item]
    rows = len(item)
    by_hour = 0.5 * np.sin(2 * np.pi * hour / 24)
    attraction = -1.4 + 1.8 * affinity + 0.3 * world.quality[item] + DEVICE_EFFECT[device] + by_hour
    click = draws.happens(sigmoid(attraction), rows)
    cart = click & draws.happens(sigmoid(0.6 * affinity + 0.4 * intent - price), rows)
    conversion = cart & draws.happens(sigmoid(0.2 + 0.4 * intent - 0.6 * price + 0.9 * age), rows)
    minutes = np.exp(-0.7 + 0.4 * affinity + 0.3 * draws.normal(rows))
    # Not yet known for some clicked rows; a watch time needs a click.
    known = ~click | draws.happens(0.97, rows)
    watched = click & draws.happens(0.95, rows)
    return {
        "click": shown(click, "%d"),
        "cart": shown(cart, "%d"),
        "conversion": shown(conversion, "%d", known),
        "watch_time": shown(minutes, "%.3f", watched),
    }


def main() -> None:
    """The command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("out_folder", type=Path, nargs="?", default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    columns = generate(arguments.seed)
    lines = [",".join(row) for row in zip(*columns.values(), strict=True)]
    start = 0
    for name, count in REQUESTS.items():
        stop = start + count * EXPOSURES
        content = "\n".join([",".join(columns), *lines[start:stop], ""])
        (arguments.out_folder / f"{name}.csv").write_bytes(content.encode())
        start = stop


if __name__ == "__main__":
    main()
