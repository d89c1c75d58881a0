"""Which tables are spread over workers, by their size and the memory of the chief's machine."""

import logging
from types import SimpleNamespace

import pytest

from fuxi_mtl.options import ROW_OPTIMIZERS
from fuxi_mtl.workflow import spread
from fuxi_mtl.workflow.spread import SLOTS, chosen_tables

GIB = 2**30
ROWS, WIDTH = 2**24, 16  # 1 GiB


def experiment(mode: str, **optimizer) -> SimpleNamespace:
    options = {"optimizer": "adam", "embedding_optimizer": None, **optimizer}
    return SimpleNamespace(
        training=SimpleNamespace(embedding_sharding=mode), optimizer=SimpleNamespace(**options)
    )


@pytest.fixture
def four(monkeypatch):
    """Four workers on two machines."""
    addresses = ("a:1", "a:2", "b:1", "b:2")
    workers = SimpleNamespace(size=4, cluster=SimpleNamespace(addresses=addresses))
    monkeypatch.setattr(spread, "connected", lambda: workers)


@pytest.mark.parametrize(
    ("optimizer", "trainable", "memory", "is_spread"),
    [
        ({}, True, 59 * GIB, True),  # 3 GiB with Adam's slots are more than a tenth of 29.5
        ({}, True, 61 * GIB, False),
        ({"optimizer": "sgd"}, True, 59 * GIB, False),
        ({"embedding_optimizer": "adagrad"}, True, 39 * GIB, True),
        ({"embedding_optimizer": "adagrad"}, True, 41 * GIB, False),
        ({}, False, 21 * GIB, False),  # a frozen table has no slots
        ({}, False, 19 * GIB, True),
    ],
)
@pytest.mark.usefixtures("four")
def test_auto_spreads_what_is_large_for_a_workers_share_of_the_memory(
    optimizer, trainable, memory, is_spread, caplog
):
    caplog.set_level(logging.INFO)
    chosen = chosen_tables(experiment("auto", **optimizer), memory)
    assert chosen(ROWS, WIDTH, trainable) == is_spread
    told = "spread over 4 workers" if is_spread else "whole in each"
    assert f"embedding_sharding auto: the table of {ROWS:,} rows of 16 numbers takes" in caplog.text
    assert told in caplog.text


@pytest.mark.usefixtures("four")
def test_row_spreads_all_and_none_does_none():
    assert chosen_tables(experiment("row"), 1e15)(1, 1, True)
    assert chosen_tables(experiment("none"), 0) is None


def test_one_process_has_whole_tables():
    assert chosen_tables(experiment("row"), 0) is None


def test_slots_of_every_optimizer_of_rows_are_known():
    assert set(SLOTS) == set(ROW_OPTIMIZERS)
