"""Graphs of these tests answer a few requests; other processes serve them as they are."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _few_requests(graphs_as_traced):
    return graphs_as_traced
