"""What new rows were worth before training is kept until the update is whole."""

import math

import numpy as np

from fuxi_mtl.evaluation.evaluate import Scores
from fuxi_mtl.workflow.progressive import FILE, keep_scores, kept_scores

SCORES = Scores(
    values={"click_AUC": 0.1 + 0.2, "buy_AUC": math.nan},
    undefined={"buy_AUC": "no row has a label"},
    notes={"click_gAUC": {"groups": np.int64(3), "coverage": np.float32(0.5)}},
    thresholds={"click": 1 / 3},
)


def test_scores_are_those_that_were_measured_to_the_last_bit(tmp_path):
    keep_scores(tmp_path / "seed_1.training", {"rows": "a"}, SCORES)
    found = kept_scores(tmp_path / "seed_1.training", {"rows": "a"}, resume=True)
    assert found.values["click_AUC"] == SCORES.values["click_AUC"]
    assert math.isnan(found.values["buy_AUC"])
    assert (found.undefined, found.thresholds) == (SCORES.undefined, SCORES.thresholds)
    assert found.notes == {"click_gAUC": {"groups": 3, "coverage": 0.5}}


def test_those_of_another_update_are_none_of_this_one(tmp_path, caplog):
    assert kept_scores(tmp_path, {"rows": "a"}, resume=True) is None
    keep_scores(tmp_path, {"rows": "a"}, SCORES)
    with caplog.at_level("INFO"):
        assert kept_scores(tmp_path, {"rows": "b"}, resume=True) is None
        assert not caplog.records
        assert kept_scores(tmp_path, {"rows": "a"}, resume=False) is None
    assert "--resume would go on behind that" in caplog.text


def test_a_damaged_file_is_said_and_rows_are_measured_again(tmp_path, caplog):
    keep_scores(tmp_path, {"rows": "a"}, SCORES)
    file = tmp_path / FILE
    file.write_text(file.read_text().replace("0.30000000000000004", "0.4"))
    assert kept_scores(tmp_path, {"rows": "a"}, resume=True) is None
    assert "its checksum is another" in caplog.text
    assert "the new rows are measured again." in caplog.text


def test_a_place_that_takes_nothing_keeps_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    keep_scores(tmp_path / "file", {"rows": "a"}, SCORES)
    assert "what the new rows were worth is not kept (File exists)." in caplog.text
