"""Interactions of features on KuaiRand: the stanzas, and the table."""

from kuairand_rows import write_kuairand

from benchmarks import crossings
from benchmarks.__main__ import main


def test_both_models_take_all_interactions_with_the_same_recipe(tmp_path, monkeypatch):
    write_kuairand(tmp_path, monkeypatch)
    file = crossings._impressions(tmp_path / "rows", 2)
    chosen = crossings.experiments(file, tmp_path / "rows")
    assert len(chosen) == 10
    assert len({repr(each.training) for each in chosen.values()}) == 1
    blocks = [str(each.model_options.get("interaction")) for each in chosen.values()]
    assert blocks[:5] == blocks[5:]
    assert len(set(blocks)) == 5


def test_an_unknown_model_is_told(tmp_path, capsys):
    assert main(["crossings", "--models", "MoME", "--cache", str(tmp_path)]) == 1
    assert "no model 'MoME' in this study. There are: MMoE, SingleTask." in capsys.readouterr().err


def test_the_table_has_what_each_gains_and_costs():
    metrics = {column: {"mean": 0.7, "sd": 0.01} for column in crossings.COLUMNS}
    none = {"expid": "MMoE_none", "seeds": [1], "metrics": metrics, "differences": {}}
    gain = {"value": 0.01, "low": 0.005, "high": 0.02}
    other = {**none, "expid": "MMoE_dcnv2", "differences": {"AUC": gain}}
    content = {"every": 3, "machine": {"commit": "c"}, "cost": {"MMoE_dcnv2": {"median": 2.0}}}
    text = "\n".join(crossings.section({**content, "tables": {"MMoE": {"rows": [none, other]}}}))
    assert "one in 3 training impressions" in text
    assert "| MMoE with dcnv2 | 1 | 0.7000 ± 0.0100 |" in text
    assert "| +0.0100 [+0.0050, +0.0200] * |  | 2.00 |" in text
