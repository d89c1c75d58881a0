"""Tables of what a stanza may choose from, and signatures read without running them."""

import ast
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest

from fuxi_mtl.options import Family, option
from fuxi_mtl.options.signature import REQUIRED, read_signature, signature_of

SOURCE = '''
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fuxi_mtl.options import option

class Base:
    def __init__(self, objectives, seed: int = 0, *,
                 power: Annotated[float, option("How much.", least=0)] = 1.5,
                 units: Sequence[int] = (64, 32), names: list[str] | None = None, bounds: dict[str, float],
                 form: Annotated[Literal["a", "b"], option("Which.", choices=("a", "b"))] = "a",
                 rest: Mapping[str, Any] | None = None, free=3): ...

class Inherits(Base):
    """Takes what its base takes.

    More text."""

def error(prediction, y, *, delta: float = 1.0):
    """One function."""

class Plain: ...
'''


@pytest.fixture
def module(tmp_path):
    """A file of that source, and what it defines."""
    file = tmp_path / "module.py"
    file.write_text(SOURCE, encoding="utf-8")
    names: dict = {}
    exec(compile(SOURCE, str(file), "exec"), names)
    return file, names


@pytest.fixture
def family(monkeypatch):
    monkeypatch.setattr(Family, "known", [])
    row = {"GN": "fuxi_mtl.weighting.gradnorm:GradNorm"}
    return Family("weighting", "loss_weight", row, given=("objectives", "seed"))


@pytest.mark.parametrize("name", ["Base", "Inherits", "error", "Plain"])
def test_the_source_says_what_the_imported_object_says(module, name):
    file, names = module
    read, live = read_signature(file, name), signature_of(names[name])
    assert read.options == live.options
    assert list(read.options) == list(live.options)
    assert read.given == live.given


def test_a_signature_has_types_defaults_sentences_and_bounds(module):
    found = read_signature(module[0], "Inherits")
    assert found.summary == "Takes what its base takes."
    assert found.given == ("objectives", "seed")
    power, bounds = found.options["power"], found.options["bounds"]
    assert (power.type, power.default, power.option) == (float, 1.5, option("How much.", least=0))
    assert (bounds.type, bounds.default) == (dict[str, float], REQUIRED)
    types = {name: each.type for name, each in found.options.items()}
    assert types["units"] == Sequence[int]
    assert types["names"] == list[str] | None
    assert types["form"] == Literal["a", "b"]
    assert types["rest"] == Mapping[str, Any] | None
    assert types["free"] is Any


def test_names_for_type_checkers_only_are_any_type():
    def function(x, *, power: "NowhereImported" = 1): ...  # noqa: F821

    assert signature_of(function).options["power"].type is Any


@pytest.mark.parametrize(
    "argument",
    ["x: int = len('abc')", "x: Unheard = 1", "x: Annotated[int, text('a')] = 1", "x: (lambda: 1) = 2"],
)
def test_what_only_running_would_tell_is_refused(tmp_path, argument):
    file = tmp_path / "module.py"
    file.write_text(f"def error(prediction, y, *, {argument}): ...\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"error has an option that only running it would tell"):
        read_signature(file, "error")


def test_a_row_of_nothing_is_refused(module):
    with pytest.raises(ValueError, match=r"module.py: there is no class or function Nothing."):
        read_signature(module[0], "Nothing")


def test_a_family_knows_its_members_without_importing_them():
    code = (
        "import sys; from fuxi_mtl.options import Family\n"
        "row = Family('w', 'k', {'GN': 'fuxi_mtl.weighting.gradnorm:GradNorm'})['GN']\n"
        "print(row.summary, 'tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.strip() == "Gradient normalisation (Chen et al., ICML 2018). False False"


def test_an_unknown_member_gets_the_nearest_name_and_all_names(family):
    with pytest.raises(ValueError, match=r"no weighting is called 'gn'. Did you mean 'GN'\? Use GN.$"):
        family["gn"]
    message = (
        "no weighting is called 'something else'. Use GN. One of your own comes with --models and its file."
    )
    assert family.unknown("something else") == message


def test_a_registered_class_is_made_with_what_it_asks_for(family):
    @family.register
    class Mine:
        """Mine."""

        def __init__(self, objectives, *, my_power: Annotated[float, option("Power.")] = 2.0):
            self.objectives, self.power = objectives, my_power

    assert [*family] == ["GN", "Mine"]
    assert len(family) == 2
    assert "Mine" in family
    assert family["Mine"].summary == "Mine."
    assert family.owners("my_power") == ["Mine"]
    assert family.registered_by([__name__]) == ["Mine"]
    made = family["Mine"].make({"my_power": 3.0, "other": 1}, objectives={"ctr": "binary"}, seed=5)
    assert (made.objectives, made.power) == ({"ctr": "binary"}, 3.0)
    assert family["Mine"].make({}, objectives={}).power == 2.0


def test_a_registered_function_keeps_its_options(family):
    errors = Family("error", "loss", {}, given=("predictions", "labels"))

    @errors.register
    def power_error(prediction, y, *, my_power: float = 2.0):
        return abs(prediction - y) ** my_power

    assert errors["power_error"].make({})(3.0, 1.0) == 4.0
    assert errors["power_error"].make({"my_power": 3.0})(3.0, 1.0) == 8.0


def test_two_members_of_one_name_are_refused_and_the_same_module_may_register_again(family):
    first = type("Mine", (), {"__module__": "one"})
    family.register(first)
    again = family.register(type("Mine", (), {"__module__": "one"}))
    assert family["Mine"].load() is again
    with pytest.raises(ValueError, match=r"two weightings are called Mine: one and two. Rename one."):
        family.register(type("Mine", (), {"__module__": "two"}))
    with pytest.raises(ValueError, match=r"called GN: fuxi_mtl.weighting.gradnorm and two"):
        family.register(type("GN", (), {"__module__": "two"}))


def test_a_member_may_ask_only_for_what_is_given(family):
    class Mine:
        def __init__(self, objectives, learning_rate): ...

    with pytest.raises(ValueError, match=r"Mine\(objectives, learning_rate\): a weighting asks by name for "):
        family.register(Mine)


@pytest.mark.parametrize("function", [lambda predictions: 1, lambda x, y, z: 1, lambda *, x: 1])
def test_a_function_is_called_with_what_is_given(family, function):
    errors = Family("binary error", "loss", {}, given=("logits", "labels"))
    with pytest.raises(
        ValueError, match=r": a binary error is called with logits, labels. Its options stand"
    ):
        errors.register(function)


def test_some_families_have_no_options(family):
    poolings = Family("pooling", "pooling", {}, given=("vectors",), has_options=False)

    @poolings.register
    def power(vectors, *, my_power: float = 2.0): ...

    assert poolings["power"].options == {}

    def needs_power(vectors, *, my_power: float): ...

    with pytest.raises(ValueError, match=r"needs_power\(vectors\): a pooling is called with vectors."):
        poolings.register(needs_power)


def test_what_lies_in_another_package_is_named_and_not_read(family):
    optimizers = Family("optimizer", "optimizer", {"adam": "collections:OrderedDict"})
    assert optimizers["adam"].summary == "Collections's OrderedDict."
    assert optimizers["adam"].options == {}
    assert optimizers["adam"].load()().keys() == set()


def test_the_example_in_the_documentation_parses():
    import fuxi_mtl.options.family as family

    example = family.__doc__.split("::\n")[1]
    ast.parse("\n".join(line.removeprefix("    ") for line in example.splitlines()))
