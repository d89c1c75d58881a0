"""Made-up exposure logs that look like Ali-CCP to a trainer: field sizes, skew, rare labels.

The labels can be learned: each id has an effect, three pairs of fields interact, and two numbers count. So
the same generator serves the tables of speed and the table of quality.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

# Ali-CCP's 18 single-valued fields; its five bags of user features stand in as single ids, with sizes that
# bring the sum to 1,490,266.
FIELD_SIZES = (
    238_635, 98, 14, 4, 8, 4, 4, 4, 5, 467_298, 6_929, 263_942, 106_399, 5_888, 104_830, 51_878, 37_148, 4,
    5_900, 84_000, 47_000, 27_000, 43_274,
)  # fmt: skip
ZIPF = 1.05
FACTOR_DIM = 4
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Workload:
    """What to make; the same description always gives the same rows.

    Attributes:
        vocabulary: Ids over all fields.
        rows: Number of rows to train on.
        held: Number of further rows, for validation.
        fields: Categorical fields.
        numbers: Numeric fields.
        tasks: Labels: click, conversion (needs a click), and then like, follow and so on.
        click_rate: Share of clicked rows, and of rows with each label after conversion.
        conversion_rate: Share of clicked rows that convert.
        seed: Seed of rows and effects.
    """

    vocabulary: int = 1_490_266
    rows: int = 1 << 20
    held: int = 8192
    fields: int = 23
    numbers: int = 5
    tasks: int = 2
    click_rate: float = 0.0402
    conversion_rate: float = 0.007
    seed: int = 2026

    @property
    def sizes(self) -> tuple[int, ...]:
        """Ids of each field, padding (0) and unknown (the last) included."""
        wanted = np.resize(np.array(FIELD_SIZES), self.fields)
        # Small fields stay as they are: a vocabulary grows in its users and items.
        fixed = np.minimum(wanted, 100)
        free = wanted - fixed
        left = self.vocabulary - int(fixed.sum())
        if left < 0:
            raise ValueError(f"vocabulary is {self.vocabulary}; {self.fields} fields need {fixed.sum()} ids.")
        extra = np.floor(free * (left / free.sum())).astype(int)
        extra[int(np.argmax(free))] += left - int(extra.sum())
        return tuple(int(size) for size in fixed + extra)

    @property
    def field_names(self) -> tuple[str, ...]:
        """Columns with ids."""
        return tuple(f"C{i + 1}" for i in range(self.fields))

    @property
    def number_names(self) -> tuple[str, ...]:
        """Columns with numbers."""
        return tuple(f"N{i + 1}" for i in range(self.numbers))

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns with labels."""
        names = ("click", "conversion", "like", "follow", "share", "comment", "save", "report")
        if not 1 <= self.tasks <= len(names):
            raise ValueError(f"tasks is {self.tasks}; it can be 1 to {len(names)}.")
        return names[: self.tasks]

    @property
    def name(self) -> str:
        """Name of its folder: what differs from the reference."""
        changed = [f"{k}-{v}" for k, v in asdict(self).items() if v != getattr(Workload(), k)]
        return "_".join(changed) or "reference"


def columns(workload: Workload) -> dict[str, np.ndarray]:
    """The rows, the held ones last: int32 ids (1 is the most frequent), float32 numbers and labels."""
    random = np.random.default_rng(workload.seed)
    rows = workload.rows + workload.held
    fields = zip(workload.field_names, workload.sizes, strict=True)
    made = {name: zipf_ids(random, size, rows) for name, size in fields}
    for name in workload.number_names:
        made[name] = random.standard_normal(rows, dtype=np.float32)
    for position, name in enumerate(workload.labels):
        score = _score(workload, made, position)
        score += random.logistic(size=rows).astype(np.float32)
        if name == "conversion":
            clicked = made["click"] > 0
            cut = np.quantile(score[clicked], 1 - workload.conversion_rate)
            made[name] = (clicked & (score > cut)).astype(np.float32)
        else:
            made[name] = (score > np.quantile(score, 1 - workload.click_rate)).astype(np.float32)
    return made


def zipf_ids(random: np.random.Generator, size: int, rows: int) -> np.ndarray:
    """Ids 1 to ``size - 2`` with ``P(id) ~ id ** -1.05``, as a vocabulary sorted by frequency gives them."""
    cumulative = np.cumsum(np.arange(1, size - 1, dtype=np.float64) ** -ZIPF)
    drawn = random.random(rows) * cumulative[-1]
    ids = np.empty(rows, np.int32)
    for start in range(0, rows, _CHUNK):  # searching in order stays in the caches
        part = drawn[start : start + _CHUNK]
        order = np.argsort(part)
        ids[start + order] = np.searchsorted(cumulative, part[order])
    return np.minimum(ids, size - 3) + np.int32(1)


def _score(workload: Workload, made: dict[str, np.ndarray], label: int) -> np.ndarray:
    """The part of a label that can be learned; click and what follows share most of it."""
    random = np.random.default_rng((workload.seed, 77))
    own = np.random.default_rng((workload.seed, 78, label))
    score = np.zeros(workload.rows + workload.held, np.float32)
    vectors = []
    for name, size in zip(workload.field_names, workload.sizes, strict=True):
        # The same effects for the frequent ids whatever the size of the vocabulary.
        effects = random.standard_normal(min(size, 5_000), dtype=np.float32)
        effects += np.float32(0.5) * own.standard_normal(len(effects), dtype=np.float32)
        factors = random.standard_normal((len(effects), FACTOR_DIM), dtype=np.float32)
        ids = made[name] % len(effects)
        score += np.float32(0.25) * effects[ids]
        vectors.append((factors, ids))
    for (left, left_ids), (right, right_ids) in zip(vectors[0:6:2], vectors[1:6:2], strict=False):
        score += np.float32(0.2) * np.einsum("rd,rd->r", left[left_ids], right[right_ids])
    for name, weight in zip(workload.number_names, (0.5, -0.3), strict=False):
        score += np.float32(weight) * made[name]
    return score


def prepare(workload: Workload, cache: Path) -> Path:
    """The folder with ``rows.npz``, ``held.npz`` and ``workload.json``, made if it is not there."""
    folder = cache / "workloads" / workload.name
    if not (folder / "workload.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = columns(workload)
        for name, part in (("rows", slice(workload.rows)), ("held", slice(workload.rows, None))):
            partial = folder / f"partial-{os.getpid()}.npz"
            np.savez(partial, **{column: values[part] for column, values in made.items()})
            partial.replace(folder / f"{name}.npz")
        content = {**asdict(workload), "sizes": workload.sizes}
        (folder / "workload.json").write_text(json.dumps(content, indent=1) + "\n")
    return folder


class Columns(Mapping):
    """The columns of a prepared workload, each read when it is asked for.

    Args:
        folder: The prepared workload.
        rows: Only the first ones; all of them unless said.
    """

    def __init__(self, folder: Path, rows: int | None = None):
        self._stored = np.load(folder / "rows.npz")
        self._rows = rows

    def __getitem__(self, name: str) -> np.ndarray:
        return self._stored[name][: self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored.files)

    def __len__(self) -> int:
        return len(self._stored.files)


def load(folder: Path) -> Workload:
    """The description of a prepared workload."""
    content = json.loads((folder / "workload.json").read_text())
    content.pop("sizes")
    return Workload(**content)
