"""The zoo's tables: their rows, one size for all, and what is written."""

import json
import shutil
from dataclasses import replace

import pytest
from synthetic_runs import write_run

from benchmarks import zoo, zoo_rows
from benchmarks.__main__ import main
from benchmarks.compared_runs import write_yaml
from fuxi_mtl import registry
from fuxi_mtl.config import load_experiments
from fuxi_mtl.dataset import dummy_features
from fuxi_mtl.registry import import_zoo

import_zoo()


def test_rows_name_models_of_the_zoo_and_conversion_models_only_where_there_is_a_chain():
    for data in zoo_rows.DATA:
        rows = zoo_rows.rows_of(data)
        assert {row.model for row in rows.values()} <= set(registry.names())
        assert any(row.needs_chain for row in rows.values()) == zoo_rows.DATA[data].chain
        assert next(iter(rows)) == zoo_rows.SINGLE
        assert "MMoE_UW_PCGrad" in rows
        conditions = {
            tuple(row.options["apg"]["condition_features"]) for row in rows.values() if row.conditioned
        }
        assert conditions == {zoo_rows.DATA[data].condition}


@pytest.mark.parametrize("data", list(zoo_rows.DATA))
def test_every_row_is_an_experiment_with_the_recipe_of_its_data(data, tmp_path):
    common = {**zoo_rows.recipe(data), "model_root": str(tmp_path)}
    rows = {name: zoo_rows.stanza_of(row, common) for name, row in zoo_rows.rows_of(data).items()}
    assert "batch_norm" not in rows["M3oE"]
    write_yaml(tmp_path / "dataset_config.yaml", {data: zoo_rows.dataset_stanza(data, tmp_path)})
    write_yaml(tmp_path / "model_config.yaml", rows)
    experiments = load_experiments(tmp_path, list(rows))
    assert len({each.optimizer for each in experiments}) == 1
    assert len({(each.training.epochs, each.training.batch_size) for each in experiments}) == 1
    events = {task.expression for task in experiments[0].tasks}
    assert all({task.expression for task in each.tasks} <= events for each in experiments)


def test_networks_are_widened_to_one_size(tmp_path):
    data = "complete_journey"
    row, reference = zoo_rows.MODELS["ShareBottom"], zoo_rows.MODELS[zoo_rows.REFERENCE]
    common = zoo_rows.recipe(data)
    write_yaml(tmp_path / "dataset_config.yaml", {data: zoo_rows.dataset_stanza(data, tmp_path)})
    budget = zoo.dense_parameters({**common, "model": reference.model, **reference.options}, tmp_path)
    # 24 features of width 8; experts, a gate for each task, towers with their heads.
    width = 24 * 8
    experts = 4 * (width * 128 + 128 + 128 * 64 + 64)
    gates, towers = 3 * width * 4, 3 * (64 * 64 + 64 + 64 + 1)
    assert budget in (experts + gates + towers, experts + gates + 3 * 4 + towers)
    options, dense = zoo.sized({**common, "model": row.model, **row.options}, row.options, budget, tmp_path)
    first, second = options["bottom_hidden_units"]
    assert dense == pytest.approx(budget, rel=zoo.CLOSE)
    assert dense == width * first + first + first * second + second + 3 * (second * 64 + 64 + 64 + 1)
    assert first == pytest.approx(2 * second, abs=1)


def test_widths_inside_a_block_grow_too():
    options = {
        "bottom": {"type": "MMoE", "num_experts": 4, "expert_hidden_units": [8, 4]},
        "transfer_units": 3,
    }
    grown = zoo.widened({**options, "gate_hidden_units": 32}, 1.5)
    assert grown == {
        "bottom": {"type": "MMoE", "num_experts": 4, "expert_hidden_units": [12, 6]},
        "transfer_units": 3,
        "gate_hidden_units": 48,
    }


def test_every_domain_of_the_data_is_counted_where_it_has_kernels_of_its_own(tmp_path):
    data, sizes = "complete_journey", []
    stanza = zoo_rows.stanza_of(zoo_rows.rows_of(data)["STAR"], zoo_rows.recipe(data))
    write_yaml(tmp_path / "dataset_config.yaml", {data: zoo_rows.dataset_stanza(data, tmp_path)})
    write_yaml(tmp_path / "model_config.yaml", {"STAR": stanza})
    few = dummy_features(load_experiments(tmp_path, ["STAR"])[0].dataset, data)
    for more in (0, 5):
        features = [
            replace(each, vocab_size=each.vocab_size + more) if each.name == "department" else each
            for each in few.features
        ]
        sizes.append(zoo.dense_parameters(stanza, tmp_path, replace(few, features=tuple(features))))
    width, (first, second) = 24 * 8, stanza["star_hidden_units"]  # 24 features of width 8
    of_domain = 2 * width + width * first + first + first * second + second
    assert sizes[1] - sizes[0] == 5 * of_domain


def test_a_size_that_no_width_reaches_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "dense_parameters", lambda stanza, folder, features: 1000)
    with pytest.raises(ValueError, match="MMoE has 1,000 parameters; no width comes close to 10"):
        zoo.sized({"model": "MMoE"}, {"expert_hidden_units": [8]}, 10, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "movielens"], "there is no data set 'movielens'. There are: census_income, "),
        (["--data", "census_income", "--rows", "MoME"], "there is no row 'MoME'. There are: SingleTask, "),
    ],
)
def test_unknown_names_are_told(arguments, message, capsys, tmp_path):
    assert main(["zoo", *arguments, "--cache", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_stored_runs_become_a_table_with_transfer_cost_and_intervals(tmp_path):
    data, sizes = "census_income", {}
    for name, skill in (("MMoE", 1.3), ("SingleTask", 1.0), ("somebody_elses", 1.0)):
        sizes[name] = {"dense": 12_345}
        for seed in (1, 2):
            write_run(tmp_path / "zoo" / "runs" / data, name, seed, model=name, dataset_id=data, skill=skill)
    (tmp_path / "zoo" / f"sizes_{data}.json").write_text(json.dumps(sizes))
    zoo.cost_file(tmp_path, data).write_text(json.dumps({"MMoE": {"median": 1.0}}))
    content = zoo.store(data, tmp_path, tmp_path)
    assert json.loads((tmp_path / f"zoo_{data}.json").read_text()) == content
    title, lines = zoo.section(content)[1], [line for line in zoo.section(content) if line.startswith("| ")]
    assert title.endswith("census_income, test")
    _, _, single, mmoe = (line.strip("| ").split(" | ") for line in lines)
    assert single[0] == "SingleTask"
    assert single[-3:-1] == ["12,345", ""]  # its cost was not measured
    name, *_, difference, delta, dense, cost, commit = mmoe
    assert (name, dense, cost) == ("MMoE", "12,345", "1.00")
    assert commit == content["machine"]["commit"]
    assert difference.endswith("*")  # the interval excludes zero
    assert delta.startswith("+")


def test_rows_that_are_not_measured_now_stay_with_their_commit(tmp_path):
    data = "census_income"
    for name, seed in (("MMoE", 1), ("MMoE", 2), ("SingleTask", 1), ("PLE", 1)):
        write_run(tmp_path / "zoo" / "runs" / data, name, seed, model=name, dataset_id=data)
    sizes = {name: {"dense": 1} for name in ("MMoE", "SingleTask", "PLE")}
    (tmp_path / "zoo" / f"sizes_{data}.json").write_text(json.dumps(sizes))
    content = zoo.store(data, tmp_path, tmp_path)
    content["machine"]["commit"] = "before"
    for row in content["table"]["rows"]:
        del row["commit"]  # as files of before have it
    (tmp_path / f"zoo_{data}.json").write_text(json.dumps(content))
    for gone in ("PLE", "MMoE/seed_2"):  # with fewer seeds it is no better measured
        shutil.rmtree(tmp_path / "zoo" / "runs" / data / data / gone)
    (tmp_path / "zoo" / f"sizes_{data}.json").write_text(json.dumps({name: {"dense": 2} for name in sizes}))
    content = zoo.store(data, tmp_path, tmp_path)
    assert content["dense"] == {"SingleTask": 2, "MMoE": 1, "PLE": 1}  # of what was trained
    rows = content["table"]["rows"]
    assert [row["expid"] for row in rows] == ["SingleTask", "MMoE", "PLE"]
    assert [row["commit"] == "before" for row in rows] == [False, True, True]


def test_every_registered_model_has_a_row_or_a_reason():
    assert {row.model for row in zoo_rows.MODELS.values()} | set(zoo_rows.LEFT_OUT) == set(
        registry.zoo_names()
    )
    assert zoo_rows.MODELS["AdaTT"].options == {"level_hidden_units": [128, 64]}
    assert zoo_rows.MODELS["CrossStitch"].options == {
        "tower_hidden_units": [64, 32]
    }  # nothing else has a width
