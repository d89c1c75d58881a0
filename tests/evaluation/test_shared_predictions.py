"""Heads that several workers compute in common; one process stands for each of them in turn."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from fuxi_mtl import registry
from fuxi_mtl.dataset import Split
from fuxi_mtl.evaluation.shared import give_share, heads_together, predict_share
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.tasks import Task

import_zoo()
ROWS = 19
CLICK = tiny.PLAIN["two"][0]
ACT = Task("act", ("watch",), kind="classes", decoder_options=(("classes", ("a", "b", "c")),))


@pytest.mark.parametrize("workers", [2, 5])
def test_heads_are_those_of_one_process_of_whatever_width(workers):
    cls = registry.model("ShareBottom")
    model = cls(tiny.FEATURES, (CLICK, ACT), **tiny.options_of(cls))
    model.build()
    inputs = tiny.inputs(ROWS)
    split = Split("valid", inputs["ids"], inputs["numeric"], np.zeros((ROWS, 1)), None, ("click",))
    told, given = {}, {}

    def of(rank: int) -> SimpleNamespace:
        def gather(own, shapes):
            given[rank] = own
            assert own.shape == shapes[rank]
            return [given[each] for each in range(workers)] if rank == 0 else []

        def tell(what, **content):
            if what == "predict":
                told.update(content)
                for other in range(1, workers):  # the last of five has no batch
                    give_share(of(other), predict_share(of(other), model, {"valid": split}, told), told)

        done = lambda *_: None  # noqa: E731
        return SimpleNamespace(rank=rank, size=workers, tell=tell, gather=gather, say=done, collect=done)

    found = heads_together(of(0), model, split, 5)
    expected = model.logits(inputs)
    assert {name: each.shape for name, each in found.items()} == {"click": (ROWS,), "act": (ROWS, 3)}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, 1e-5, 1e-7)
