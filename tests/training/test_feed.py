"""What a training learns from."""

from types import SimpleNamespace

import pytest

from fuxi_mtl.training import feed
from fuxi_mtl.training.feed import Feed


def test_variables_of_validation_batches_are_not_for_several_processes(monkeypatch):
    monkeypatch.setattr(feed, "together", lambda model: "workers")
    model = SimpleNamespace(bilevel_variables=lambda: ["scalars"])
    with pytest.raises(ValueError, match="learns variables on validation batches.*Train it in one process"):
        Feed.of(model, None, None)
