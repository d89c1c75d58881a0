"""Models by name, their options, and a user's own files."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

from fuxi_mtl import registry
from fuxi_mtl.registry import import_zoo

import_zoo()

MODEL = """
from fuxi_mtl.registry import register

@register
class {name}:
    def __init__(self, features, tasks, *, width: int = 3, depth: int = 2):
        self.width = {value}
"""


@pytest.fixture
def models(monkeypatch):
    """A registry of our own, with what the zoo registered in it."""
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    return registry._MODELS


def write(path, name="Mine", value=1):
    path.write_text(MODEL.format(name=name, value=value), encoding="utf-8")
    return str(path)


def test_every_plain_module_of_the_zoo_registers_a_model_of_its_own():
    for module in pkgutil.iter_modules(import_zoo().__path__):
        if module.name.startswith("_"):  # what several models have in common, or a model's bricks
            continue
        full = f"{registry.ZOO}.{module.name}"
        importlib.import_module(full)
        here = [name for name in registry.names() if registry.model(name).__module__ == full]
        assert len(here) == 1, module.name
        assert here[0].replace("_", "").lower() == module.name.replace("_", "")


def test_names_are_sorted():
    assert registry.names() == sorted(registry.names())


@pytest.mark.parametrize(("name", "near"), [("MMOE", "MMoE"), ("ShareBotom", "ShareBottom"), ("ple", "PLE")])
def test_an_unknown_model_gets_a_suggestion(name, near):
    with pytest.raises(ValueError, match=f"no model is called '{name}'. Did you mean '{near}'") as error:
        registry.model(name)
    assert "Models: " in str(error.value)
    assert ", ESM2, ESMM, HeuristicDR, HoME, KnowledgeTransfer, M3oE, MMoE, " in str(error.value)


def test_a_model_like_no_other_gets_the_list():
    with pytest.raises(ValueError, match=r"no model is called 'zzz'\. Models: "):
        registry.model("zzz")


def test_options_are_the_keyword_parameters_in_order():
    options = registry.options("ShareBottom")
    assert list(options)[:2] == ["bottom_hidden_units", "embedding_dim"]  # its own, then what all share
    assert options["embedding_dim"].default == 16
    assert "features" not in options


def test_two_classes_of_one_name_are_an_error(models):
    other = type("MMoE", (), {"__module__": "elsewhere"})
    with pytest.raises(
        ValueError, match=r"two models are called MMoE: fuxi_mtl_zoo.mmoe and elsewhere. Rename one."
    ):
        registry.register(other)


def test_registering_again_replaces_the_class_of_the_same_module(models):
    again = registry.register(type("MMoE", (), {"__module__": "fuxi_mtl_zoo.mmoe"}))
    assert registry.model("MMoE") is again


def test_a_users_file_registers_its_models(models, tmp_path):
    assert registry.import_models(write(tmp_path / "mine.py")) == ["Mine"]
    assert list(registry.options("Mine")) == ["width", "depth"]


def test_a_users_file_may_be_imported_again(models, tmp_path):
    path = write(tmp_path / "mine.py")
    registry.import_models(path)
    write(tmp_path / "mine.py", value=2 + 10)
    assert registry.import_models(path) == ["Mine"]
    assert registry.model("Mine")(None, None).width == 12


def test_a_folder_registers_every_plain_file(models, tmp_path):
    write(tmp_path / "a.py", "First")
    write(tmp_path / "b.py", "Second")
    (tmp_path / "_draft.py").write_text("raise RuntimeError", encoding="utf-8")
    assert registry.import_models(str(tmp_path)) == ["First", "Second"]


def test_equal_file_names_in_two_folders_are_two_modules(models, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    registry.import_models(write(tmp_path / "one" / "model.py"))
    with pytest.raises(ValueError, match="two models are called Mine"):
        registry.import_models(write(tmp_path / "two" / "model.py"))


@pytest.mark.parametrize("name", ["missing.py", "."])
def test_a_path_without_a_python_file_is_an_error(models, tmp_path, name):
    with pytest.raises(ValueError, match="--models .*: no Python file there"):
        registry.import_models(str(tmp_path / name))


def test_a_file_that_is_not_python_is_an_error(models, tmp_path):
    with pytest.raises(ValueError, match="--models .*notes.txt: not a Python file"):
        registry.import_models(write(tmp_path / "notes.txt"))


def test_a_file_without_a_model_is_an_error(models, tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"nothing there is registered. A model has @register, a "):
        registry.import_models(str(tmp_path / "empty.py"))


@pytest.mark.parametrize(
    ("text", "what"),
    [("def f(:", "SyntaxError"), ("import nowhere_at_all", "ModuleNotFoundError: No module named")],
)
def test_a_file_that_cannot_be_imported_says_why(models, tmp_path, text, what):
    (tmp_path / "broken.py").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"--models .*broken.py: {what}"):
        registry.import_models(str(tmp_path / "broken.py"))


def test_the_registry_does_not_load_tensorflow():
    code = (
        "import sys, fuxi_mtl.registry, fuxi_mtl.tasks, fuxi_mtl.features; print('tensorflow' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


SHARING = """
from dataclasses import dataclass
from typing import Annotated
from typing_extensions import Unpack
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import CommonOptions
from fuxi_mtl.registry import register

class Kind: ...

@dataclass(frozen=True)
class Crossing:
    width: int
    name: str = "plain"

@register
class Sharing:
    \"\"\"One.

    Args:
        features: The inputs.
        depth: As deep as it is.
    \"\"\"

    defaults = {DEFAULTS}

    def __init__(
        self, features, tasks, *, depth: Annotated[int, option("Layers.", least=1)] = 2,
        kind: Kind | None = None, crossing: Crossing | dict | None = None,
        free=(1, 2), **common: Unpack[CommonOptions],
    ):
        self.given = dict(depth=depth, kind=kind, crossing=crossing, free=free, **common)

@register
class Deeper(Sharing):
    defaults = {"depth": 5, "batch_norm": True}
"""


@pytest.fixture
def sharing(models, tmp_path):
    """A user's models with options that all share."""

    def imported(defaults='{"embedding_dim": 4}'):
        file = tmp_path / "sharing.py"
        file.write_text(SHARING.replace("{DEFAULTS}", defaults), encoding="utf-8")
        registry.import_models(str(file))
        return registry.model("Sharing"), registry.model("Deeper")

    return imported


def test_a_model_gets_a_value_for_every_option_its_own_and_shared(sharing):
    model, deeper = sharing()
    assert list(registry.options("Sharing"))[:5] == ["depth", "kind", "crossing", "free", "embedding_dim"]
    given = model("features", tasks="tasks", net_dropout=0, crossing={"width": 2.0}).given
    assert (given["embedding_dim"], given["batch_norm"], given["net_dropout"]) == (4, False, 0.0)
    assert (given["depth"], given["free"], given["crossing"].width) == (2, (1, 2), 2)
    given = deeper(None, None).given
    assert (given["embedding_dim"], given["batch_norm"], given["depth"]) == (4, True, 5)


def test_a_users_own_class_passes_and_another_does_not(sharing):
    model, _ = sharing()
    kind = sys.modules[model.__module__].Kind()
    assert model(None, None, kind=kind).given["kind"] is kind
    with pytest.raises(ValueError, match="kind expects .*, not 3"):
        model(None, None, kind=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crossing": {}}, "crossing needs the key 'width'."),
        ({"crossing": {"widht": 2}}, "crossing: unknown key 'widht' .value 2.. Did you mean 'width'"),
        ({"depth": 0}, "depth is 0; the least is 1."),
    ],
)
def test_a_wrong_option_of_a_users_model_says_what_is_right(sharing, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sharing()[0](None, None, **options)


def test_defaults_of_an_option_that_there_is_not_are_refused(sharing):
    message = "Sharing.defaults name 'embeding_dim', which is no option of it. Did you mean 'embedding_dim'"
    with pytest.raises(ValueError, match=message):
        sharing('{"embeding_dim": 4}')


def test_the_docstring_has_the_sentences_it_does_not_say_itself(sharing):
    text = sharing()[0].__doc__
    assert "    depth: As deep as it is.\n" in text
    assert "Layers." not in text
    assert "    embedding_dim: Width of the embeddings.\n" in text
