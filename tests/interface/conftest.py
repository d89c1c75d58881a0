"""What the tests of the interface share, made once a file."""

import pandas as pd
import pytest
from interface_world import TINY, small_data, small_model, small_rows

import fuxi_mtl as fm


@pytest.fixture(scope="module", autouse=True)
def _graphs(graphs_as_traced):
    """Trainings take a few steps only."""


@pytest.fixture(scope="session")
def tiny_frames() -> dict[str, pd.DataFrame]:
    return {name: pd.read_csv(TINY / f"{name}.csv") for name in ("train", "valid", "test")}


@pytest.fixture(scope="session")
def data() -> fm.Dataset:
    return small_data()


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return pd.DataFrame(small_rows(24, seed=1))


@pytest.fixture(scope="session")
def fitted(data) -> fm.Run:
    return fm.fit(small_model(data), data, epochs=1, batch_size=32, learning_rate=0.01)
