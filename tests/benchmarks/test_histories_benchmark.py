"""Users' histories on KuaiRand: what is joined, the stanzas, and the command on a few rows."""

import json

import polars as pl
from kuairand_rows import write_kuairand

from benchmarks import histories
from benchmarks.__main__ import main


def test_a_history_has_the_newest_videos_with_the_authors_and_tags_of_training_impressions(monkeypatch):
    monkeypatch.setattr(histories, "PLACES", {"watch": 2})
    impressions = pl.DataFrame(
        {
            "user_id": [1, 2, 3],
            "video_id": [10, 11, 12],
            "author_id": [100, 101, 102],
            "tag": ["a", "b", "c"],
            "split": ["train", "train", "test"],
        }
    )
    watched = pl.DataFrame(
        {"user_id": [2, 1], "watch_seq": [[], [11, 12, 10]]},
        schema_overrides={"watch_seq": pl.List(pl.Int64)},
    )
    found = histories.with_histories(impressions, watched)
    assert found["user_id"].to_list() == [1, 2, 3]
    assert found["watch_videos"].to_list() == [[12, 10], [], []]
    assert found["watch_authors"].to_list() == [[-1, 100], [], []]  # 12 is not in training
    assert found["watch_tags"].to_list() == [["none", "a"], [], []]


def test_encoders_are_trained_and_compared_on_the_same_impressions(tmp_path, monkeypatch):
    write_kuairand(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    small = {"model": "MMoE", "num_experts": 2, "expert_hidden_units": [4]}
    monkeypatch.setattr(histories, "MODELS", {"MMoE": small})
    monkeypatch.setattr(histories, "ENCODERS", ("none", "mean"))
    monkeypatch.setattr(histories, "EPOCHS", 1)
    places = ["--cache", str(tmp_path), "--results", str(tmp_path)]
    assert main(["histories", "--seeds", "1", "--turns", "0", "--every", "2", *places]) == 0
    content = json.loads((tmp_path / "histories.json").read_text())
    assert [row["expid"] for row in content["tables"]["MMoE"]["none"]["rows"]] == ["MMoE_none", "MMoE_mean"]
    lines = histories.section(content)
    assert "one in 2 training impressions" in lines[2]
    none, mean = (line.split(" | ") for line in lines if line.startswith("| MMoE with"))
    assert [none[7], none[9]] == ["", mean[9]] or mean[9] == ""  # each differs from the other only
    assert mean[7].startswith(("+", "-"))
    assert none[9].startswith(("+", "-"))


def test_an_unknown_model_is_told(tmp_path, capsys):
    assert main(["histories", "--models", "MoME", "--cache", str(tmp_path)]) == 1
    assert "no model 'MoME' in this study. There are: MMoE, ESMM, PLE." in capsys.readouterr().err


def test_all_models_take_all_encoders_with_the_same_recipe(tmp_path, monkeypatch):
    write_kuairand(tmp_path, monkeypatch)
    chosen = histories.experiments(histories.joined(tmp_path / "rows"), tmp_path / "rows")
    assert len(chosen) == 15
    assert len({repr(each.training) for each in chosen.values()}) == 1
    assert len({each.options.dataset_id for each in chosen.values()}) == 1
    blocks = [each.model_options.get("sequences") for each in chosen.values()]
    assert sum(block is None for block in blocks) == 3
