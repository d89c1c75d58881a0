"""Training on two devices, whose numbers are those of one; `python -m benchmarks replicas` has all models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from on_two_devices import CASES

PROGRAM = Path(__file__).parent / "on_two_devices.py"
PATHS = os.pathsep.join(str(folder) for folder in PROGRAM.parents[1:3])


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def rows(found):
    return found["rows"]


@pytest.mark.parametrize("name", CASES)
def test_two_devices_take_the_same_steps_as_one(found, name):
    training = found["trainings"][name]
    assert training["weights"] < 1e-5
    assert training["logs"] < 1e-5
    assert training["copies"] == 0


def test_replicas_meet_a_few_times_a_step_however_many_variables_there_are(found):
    training = found["trainings"]["norms, surgery, penalties, clipping and deferred moves"]
    # Losses, the gradients of all objectives for the norms and again for the surgery, those of the step, and
    # what is watched of classes.
    assert training["sums"] == 5
    # What a table gives: the rows that catch up, the rows of each objective, and those of the step, each as
    # lengths, indices and values, and each of these behind its size.
    assert training["gathers"] <= 2 * (2 + 3 + 3)


def test_sums_and_rows_are_those_of_both_replicas(rows):
    given = np.array(rows["given"])
    for replica in range(2):
        assert rows["sum"]["a"][replica] == pytest.approx(given.sum(axis=0).tolist(), rel=1e-6)
        assert rows["sum"]["b"][replica] == [2, 4]
        np.testing.assert_array_equal(rows["rows"][replica], given.astype(np.float32))


def test_rows_of_tables_travel_as_rows_beside_dense_gradients(rows):
    for replica in range(2):
        assert rows["indices"][replica] == [0, 1, 2, 0]
        np.testing.assert_array_equal(rows["values"][replica], np.float32(rows["given"]))
        assert rows["dense"][replica] == pytest.approx(np.sum(rows["given"]), rel=1e-6)


def test_a_gradient_comes_back_to_each_row_of_a_global_mean(rows):
    mean = np.mean(rows["given"], axis=0)
    expected = np.tile(2 * mean / 4, (4, 1))  # of sum(mean^2), whose halves both replicas have
    np.testing.assert_allclose(np.concatenate(rows["slope"]), expected, rtol=1e-5)


def test_gates_are_balanced_over_all_rows(rows):
    powers = np.exp(np.array(rows["given"]))
    shares = powers / powers.sum(axis=1, keepdims=True)
    mean = shares.mean(axis=0)
    entropy = -(shares * np.log(shares)).sum(axis=1).mean()
    expected = (mean * np.log(3 * mean)).sum() - 0.5 * entropy
    assert rows["penalty"] == pytest.approx([expected] * 2, abs=1e-4)


def test_batch_norm_has_the_rows_of_all_replicas_or_each_its_own(rows):
    given = np.array(rows["given"])
    mean, variance = given.mean(axis=0), given.var(axis=0)
    expected = (given - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(np.concatenate(rows["normed"]), expected, atol=1e-5)
    own = given[:3]
    expected = (own - own.mean(axis=0)) / np.sqrt(own.var(axis=0) + 1e-3)
    np.testing.assert_allclose(rows["normed_alone"][0], expected, atol=1e-5)
    np.testing.assert_allclose(rows["normed_alone"][1], np.zeros((1, 3)), atol=1e-5)
    for place, moments in enumerate((0.5 * mean, 0.5 + 0.5 * variance) * 2):
        for replica in range(2):
            np.testing.assert_allclose(rows["moving"][place][replica], moments, atol=1e-6)


def test_replicas_draw_differently(rows):
    for first, second in rows["drawn"]:
        assert first != second


def test_each_replica_has_the_weights_of_the_same_losses(rows):
    random, by_loss = rows["weights"]
    assert all(first == second for first, second in [*random, *by_loss])
    assert sum(first for first, _ in random) == pytest.approx(2)
    assert [first for first, _ in by_loss] == pytest.approx([2, 4])  # 1 / L in the first stretch


def test_gradients_are_summed_before_they_are_clipped_in_a_plain_keras_model(found):
    # 3 and 4 are the sums of both replicas, of norm 5; those of one have a norm above 100.
    np.testing.assert_allclose(found["plain"][0], [-0.6, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["plain"][1], [-0.8], atol=1e-6)
