"""What a history costs under each encoder: all networks, a step each, and the table."""

from benchmarks import sequences


def test_every_encoder_takes_a_step_and_has_a_row(tmp_path, monkeypatch):
    for name, value in {"LENGTHS": (3,), "IDS": 200, "WIDTH": 4, "FIELDS": 1, "BATCH": 8, "STEPS": 1}.items():
        monkeypatch.setattr(sequences, name, value)
    few = {name: sequences.ENCODERS[name] for name in (sequences.BAG, "din")}
    monkeypatch.setattr(sequences, "ENCODERS", few)
    content = sequences.measure_sequences(1, tmp_path)
    assert (tmp_path / "sequences.json").is_file()
    assert content["cells"][0]["ratios"][sequences.BAG]["median"] == 1
    lines = sequences.section(content)
    assert sum(line.startswith(("| a bag, pooled", "| din")) for line in lines) == 2
