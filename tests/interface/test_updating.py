"""Another day for a run in Python."""

import numpy as np
import pytest
from interface_world import small_data, small_model, small_rows

import fuxi_mtl as fm
from fuxi_mtl.training.state.saving import Saving

pytestmark = pytest.mark.usefixtures("eagerly")
SMALL = {"batch_size": 32, "learning_rate": 0.01, "epochs": 1, "steps_per_execution": 1}


@pytest.fixture(scope="module")
def run():
    data = small_data()
    return fm.fit(small_model(data), data, **SMALL)


def test_a_frame_of_another_day_is_measured_and_trained_on(run):
    rows = small_rows(80, seed=1)
    rows["item_id"] = rows["item_id"] + 5  # some are new
    before = run.evaluate(rows)
    model = run.model.get_weights()
    following = fm.update(run, rows, day="2026-11-08", new_rows="oov", learning_rate=0.02)
    for key, value in following.update["progressive"]["before"].items():
        assert value == pytest.approx(before[key], abs=1e-6)
    assert following.update["vocabularies"]["item_id"]["new"] == 5
    assert following.evaluate(rows) != before
    assert set(following.predict(rows)) == {"ctr", "cvr"}
    for mine, other in zip(run.model.get_weights(), model, strict=True):
        np.testing.assert_array_equal(mine, other)
    third = fm.update(following, small_rows(40, seed=2), day="2026-11-09", valid_data=small_rows(40, seed=3))
    assert third.update["number"] == 2
    assert set(third.metrics) == {"valid"}
    assert run.update == {}


def test_an_update_in_a_folder_goes_on_where_it_was_interrupted(run, tmp_path, monkeypatch):
    rows = small_rows(80, seed=1)
    given = {"day": "2026-11-08", "save_every_steps": 1}
    whole = fm.update(run, rows, folder=tmp_path / "whole", **given)
    pause = Saving.pause

    def interrupted(self):
        if self._state.position.step == 2:
            self.wait()  # as a training that is left does: the state of the first step is whole
            raise KeyboardInterrupt
        pause(self)

    with monkeypatch.context() as patch:
        patch.setattr(Saving, "pause", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fm.update(run, rows, folder=tmp_path / "cut", **given)
    with pytest.raises(ValueError, match="they differ in the data"):
        fm.update(run, small_rows(40, seed=1), folder=tmp_path / "cut", resume=True, **given)
    cut = fm.update(run, rows, folder=tmp_path / "cut", resume=True, **given)
    assert cut.update["progressive"] == whole.update["progressive"]
    for mine, other in zip(cut.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not (tmp_path / "cut.training").exists()
    with pytest.raises(ValueError, match="update: resume goes on with the training of a folder: give folder"):
        fm.update(run, rows, resume=True)


def test_mistakes_are_told_in_its_own_words(run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there and is no run"):
        fm.update(run, small_rows(), folder=tmp_path)
    with pytest.raises(ValueError, match="update: folder is that of the run, which stays"):
        fm.update(run, small_rows(), folder=run.folder)
    with pytest.raises(ValueError, match="update: run is str. It is a fm.Run"):
        fm.update("run", small_rows())
    with pytest.raises(ValueError, match="update: train rows are int"):
        fm.update(run, 3)
