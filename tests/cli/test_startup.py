"""What the command line imports, and when."""

import gc
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuxi_mtl import registry
from fuxi_mtl.cli import commands
from fuxi_mtl.cli.startup import absent
from fuxi_mtl.config import ConfigError, check_stanzas, load_experiment
from fuxi_mtl.registry import import_zoo

import_zoo()

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "model_zoo"
QUICK = """
import sys
from fuxi_mtl.cli.commands import main
for given in (["--help"], ["run", "--help"]):
    try:
        main(given)
    except SystemExit:
        pass
assert main(["list"]) == 0
assert main(["run", "--expid", "MMoE_tset"]) == 1
assert main(["run", "--expid", "MMoE_test", "--set", "num_expert=3"]) == 1
assert main(["run", "--expid", "MMoE_test", "--set", "epochs=ten"]) == 1
for wrong in ("num_experts=two", "num_experts=0", "gate_stabilize={temprature: 1}", "embeding_dim=3"):
    assert main(["run", "--expid", "MMoE_test", "--set", wrong]) == 1
for wrong in ("hidden_activations=[swishh]", "net_regularizer=l3(1)"):
    assert main(["run", "--expid", "MMoE_test", "--set", wrong]) == 1
assert main(["predict", "--expid", "nobody", "--input", "a.csv", "--output", "b.csv"]) == 1
heavy = {"tensorflow", "keras", "pandas", "sklearn", "matplotlib", "scipy"} & set(sys.modules)
heavy |= {"fuxi_mtl.comparison", "fuxi_mtl.evaluation.conversion_checks"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_a_list_and_a_mistake_in_the_stanza_are_answered_without_tensorflow():
    done = subprocess.run(
        [sys.executable, "-c", QUICK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "num_experts" in done.stdout
    for part in (
        "num_experts expects a whole number, not 'two'.",
        "num_experts is 0; it lies from 1 to 10000.",
        "gate_stabilize: unknown key 'temprature' (value 1). Did you mean 'temperature'?",
        "unknown key 'embeding_dim' (value 3). Did you mean 'embedding_dim'?",
        "hidden_activations[0] is 'swishh'. Did you mean 'swish'?",
        "net_regularizer: regularizer 'l3(1)': write a number, 'l1(1e-5)'",
    ):
        assert part in done.stderr
    for part in ("Did you mean 'MMoE_test'?", "Did you mean 'num_experts'?", "epochs expects", "'nobody'"):
        assert part in done.stderr


def test_scipy_is_imported_where_it_is_needed_and_not_at_the_start():
    files = [file for folder in (ROOT / "fuxi_mtl", ZOO) for file in folder.rglob("*.py")]
    at_the_top = [file for file in files if re.search(r"^(import|from) scipy", file.read_text(), re.M)]
    assert not at_the_top


def test_garbage_is_collected_as_before_behind_a_start():
    assert gc.isenabled()
    assert commands.main(["list", "--config", str(ROOT / "config")]) == 0
    assert gc.isenabled()


def test_declarations_say_what_the_imported_models_say(monkeypatch):
    imported = {
        name: (registry.summary(name), registry.plans_tasks(name), _plain(name)) for name in registry.names()
    }
    zoo = {name: cls for name, cls in registry._MODELS.items() if cls.__module__.startswith(registry.ZOO)}
    monkeypatch.setattr(registry, "_MODELS", {})
    with registry.declared(ZOO) as known:
        assert known
        assert registry.names() == sorted(zoo)
        for name in zoo:
            assert (registry.summary(name), registry.plans_tasks(name), _plain(name)) == imported[name]
    assert registry.names() == []


def _plain(name):
    return [(option.name, option.default) for option in registry.options(name).values()]


@pytest.mark.parametrize(
    "source",
    ["    def __init__(self, *, units=SIZES): ...", "    units = 3"],
    ids=["a default that must be computed", "an inherited constructor"],
)
def test_models_that_must_be_run_to_be_known_are_not_declared(tmp_path, source):
    (tmp_path / "model.py").write_text(f"@register\nclass Strange(Base):\n{source}\n")
    before = registry.names()
    with registry.declared(tmp_path) as known:
        assert not known
    assert registry.names() == before


def test_an_option_may_have_no_default_and_a_class_that_is_not_registered_is_no_model(tmp_path):
    (tmp_path / "model.py").write_text(
        '@register\nclass New(Base):\n    """One line.\n\n    More.\n    """\n\n'
        "    def __init__(self, features, tasks, *, units: int, rate=0.5): ...\n\nclass Brick: ...\n"
    )
    with registry.declared(tmp_path) as known:
        assert known
        assert registry.summary("New") == "One line."
        assert [*registry.options("New")] == ["units", "rate"]
        assert registry.options("New")["units"].default is inspect.Parameter.empty
        assert "Brick" not in registry.names()


@pytest.mark.parametrize(
    ("expid", "override"),
    [
        ("MMoE_tset", ()),
        ("MMoE_test", ("num_expert=3",)),
        ("MMoE_test", ("epochs=ten",)),
        ("MMoE_test", ("num_experts=two",)),
        ("MMoE_test", ("tower_hidden_units=[8, 0]",)),
        ("MMoE_test", ("hidden_activations=swishh", "embedding_regularizer=l2(-1)")),
        ("DeepFM_MMoE_test", ("backbone={deep_activation: swishh}",)),
        ("MMoE_test", ("gate_stabilize={temprature: 1}",)),
        ("ESMM_test", ("bottom={type: MMoE, gate_stabilize: {eps: 0}}",)),
        ("ESMM_test", ("bottom={type: mmoo}",)),
        ("MultiIPW_test", ("ipw={self_normalised: true, propensity_stop_gradient: false}",)),
        ("MMoE_test", ("epochs=ten", "monitor=clik_AUC", "loss_weight=[1]", "fusion={scores: [clik]}")),
        ("ESMM_test", ("epochs=ten", "num_expert=3")),
    ],
)
def test_what_is_told_early_is_what_would_be_told_later(expid, override):
    config = ROOT / "config"
    with pytest.raises(ConfigError) as late:
        load_experiment(config, expid, override)
    with registry.declared(ZOO), pytest.raises(ConfigError) as early:
        check_stanzas(config, [expid], override)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize(
    "expid",
    [
        "ESMM_test",
        "ESM2_test",
        "MultiDR_test",
        "NaiveIPW_test",
        "AITM_test",
        "APG_AITM_test",
        "DeepFM_MMoE_test",
    ],
)
def test_one_command_tells_all_mistakes_of_a_model_that_plans_its_own_tasks(expid, capsys):
    early = ("epochs=ten", "batch_size=0", "embeding_dim=3")
    late = ("loss_weight={nobody: 1}", "monitor=clik_AUC", "grad_diag_min_tasks=9")
    given = [*early, "grad_diag_enabled=true", *late]
    assert commands.main(["run", "--config", str(ROOT / "config"), "--expid", expid, "--set", *given]) == 1
    first, second = capsys.readouterr().err.split("ConfigError: ")[1:]
    for each in early:
        assert first.count(f"--set {each}: ") == 1
    for each in late:
        assert f"--set {each}: " in second
    assert not any(each in second for each in early)


def test_nothing_is_imported_for_a_mistake_beside_which_there_is_no_other(monkeypatch, capsys):
    monkeypatch.setattr(commands, "quiet_start", lambda: pytest.fail("TensorFlow would be imported"))
    given = ["--config", str(ROOT / "config"), "--set", "epochs=ten"]
    for expid, weighting in (("MMoE_test", "EQ"), ("MMoE_test", "GN"), ("MMoE_tset", "EQ")):
        assert commands.main(["run", "--expid", expid, *given, f"loss_weight={weighting}"]) == 1
    assert capsys.readouterr().err.count("ConfigError: ") == 3


def test_what_a_weighting_refuses_when_it_is_made_follows_the_other_mistakes(capsys):
    given = ["epochs=ten", "loss_weight=NISE", "nise_reference=nobody"]
    config = str(ROOT / "config")
    assert commands.main(["run", "--config", config, "--expid", "MMoE_test", "--set", *given]) == 1
    first, second = capsys.readouterr().err.split("ConfigError: ")[1:]
    assert "epochs expects" in first
    assert "nise_reference names 'nobody'" in second


def test_a_package_is_absent_inside_and_there_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with absent("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys

    with absent("colorsys"):  # loaded already: whoever uses it keeps it
        import colorsys as again
    assert again is colorsys
    assert sys.modules["colorsys"] is colorsys


def test_a_missing_zoo_is_told_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "fuxi_mtl" / "registry.py"))
    assert commands.main(["list"]) == 1
    assert "the models are not beside fuxi_mtl" in capsys.readouterr().err
