"""The two regressions of the MMoE paper."""

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.simulation import make_settings, regression
from fuxi_mtl.simulation.regression import Regression


def generator(**given):
    return Regression.of(make_settings("regression", given={"rows": 5_000, "dimensions": 20, **given}))


@pytest.mark.parametrize("cosine", [-1.0, 0.0, 0.5, 1.0])
def test_the_weight_vectors_have_their_cosine_exactly(cosine):
    first, second = generator(task_correlation=cosine, scale=3.0).weights.T
    assert first @ second / 9 == pytest.approx(cosine, abs=1e-12)
    assert np.linalg.norm(first) == pytest.approx(3, abs=1e-12)
    assert np.linalg.norm(second) == pytest.approx(3, abs=1e-12)


def test_a_label_is_a_line_and_sinusoids_and_noise():
    made = generator(sinusoids=2, noise=0.1)
    frame = made.block(0)
    x = frame.select([f"x{k + 1}" for k in range(20)]).to_numpy().astype(float)
    for j in range(2):
        line = x @ made.weights[:, j]
        expected = line + np.sin(line + made.phases[0]) + np.sin(2 * line + made.phases[1])
        np.testing.assert_allclose(frame[f"truth_y{j + 1}"], expected, atol=1e-5)
        noise = frame[f"y{j + 1}"].to_numpy() - expected
        assert noise.std() == pytest.approx(0.1, rel=0.05)
        assert abs(noise.mean()) < 4 * 0.1 / np.sqrt(5_000)


def test_tasks_of_cosine_one_without_noise_are_one_task():
    frame = generator(task_correlation=1.0, noise=0.0, sinusoids=3).block(0)
    np.testing.assert_allclose(frame["y1"], frame["y2"], atol=1e-6)


def test_labels_are_the_more_alike_the_larger_the_cosine_is():
    found = []
    for cosine in (0.0, 0.5, 0.9):
        frame = generator(task_correlation=cosine).block(0)
        found.append(np.corrcoef(frame["y1"], frame["y2"])[0, 1])
    assert found == sorted(found)
    assert abs(found[0]) < 4 / np.sqrt(5_000)


def test_blocks_are_parts_of_the_same_rows(monkeypatch):
    monkeypatch.setattr(regression, "BLOCK", 1_000)
    long, short = generator(rows=2_500), generator(rows=1_200)
    assert [frame.height for frame in long.frames()] == [1_000, 1_000, 500]
    assert pl.concat(list(long.frames())).head(1_200).equals(pl.concat(list(short.frames())))
    assert not long.block(0).equals(long.block(1))
