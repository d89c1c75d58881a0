"""Writes the small csv files of fuxictr_folder: ``python tests/config/write_fuxictr_data.py``."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "fuxictr_folder" / "data" / "tiny_fuxictr"
HEADER = "user_segment,item_category,device,price,age_days,tags,click,conversion"


def write(name: str, rows: int, seed: int) -> None:
    """One file of exposures whose clicks follow the segment and the price."""
    random = np.random.default_rng(seed)
    segment = random.integers(0, 6, rows)
    category = random.integers(0, 10, rows)
    device = random.choice(["phone", "tablet", "desktop"], rows)
    price = random.gamma(2.0, 10.0, rows)
    age = random.integers(0, 60, rows)
    click_logit = -0.5 + 0.6 * (segment - 2.5) + 0.3 * (category % 3) - 0.03 * (price - 20)
    click = random.random(rows) < 1 / (1 + np.exp(-click_logit))
    buy_logit = -0.8 + 0.5 * (category % 4 - 1.5) - 0.02 * age
    conversion = click & (random.random(rows) < 1 / (1 + np.exp(-buy_logit)))
    lines = [HEADER]
    for i in range(rows):
        tags = "^".join(f"t{tag}" for tag in sorted(set(random.integers(0, 8, random.integers(1, 5)))))
        price_text = "" if random.random() < 0.02 else f"{price[i]:.2f}"
        lines.append(
            f"s{segment[i]},c{category[i]},{device[i]},{price_text},{age[i]},{tags},"
            f"{int(click[i])},{int(conversion[i])}"
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write("train.csv", 600, 1)
    write("test.csv", 300, 2)
