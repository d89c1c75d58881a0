"""What `import fuxi_mtl` offers, and that it offers it late."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fuxi_mtl as fm
from fuxi_mtl import registry
from fuxi_mtl.options.signature import signature_of

PACKAGE = Path(fm.__file__).parent

# What a user may rely on. A name that goes or comes belongs into UPGRADING.md.
NAMES = """
    Dataset Categorical Numeric Sequence Embedding Meta Label Task
    fit tune update evaluate predict export compare plot
    load_run experiment list_models model_options register
    Run Experiment Comparison Tuning SweepError Encoder
    MultiTaskModel Objective Weighting
    register_metric mean_of sums_of
    Equal Manual Uncertainty GradNorm DynamicAverage GeometricMean LossRatio RandomWeights
    FastAdaptive ImpartialLosses SmoothTchebycheff SoftOptimal CoefficientOfVariation NormalisedEntropy
    ExcessRisk
    SplitOptimizer LazyAdam DenseEquivalentAdam RowAdagrad RowWiseAdagrad RowFtrl RowSGD
    FeatureEmbedding Experts Gate GatedExperts Mixture Towers MLP
    Feature FeatureMap Brick BagPooling SharedBottom ExtractionLevels GeneratedMLP Generation GateStabilize
    SequenceGroup SparseRouting
    InformationTransfer GatedTransfer AttendedTransfer
    RowOptimizer with_rows DeferredUpdates RowLoss Backward
    WeightedCrossEntropy FocalLoss SquaredError AbsoluteError HuberError
    register_weighting register_surgery register_error SurgeryMethod register_tracker Tracker
    __version__
""".split()


def test_the_public_names_are_these_and_the_models():
    assert set(fm.__all__) == {*NAMES, *fm.list_models()}
    assert len(fm.__all__) == len(set(fm.__all__))


@pytest.mark.parametrize("name", fm.__all__)
def test_a_public_name_is_there_and_listed(name):
    assert getattr(fm, name) is not None
    assert name in dir(fm)


def test_no_public_name_is_a_file_or_folder_of_the_package():
    taken = {path.stem for path in PACKAGE.iterdir()}
    assert taken.isdisjoint(set(fm.__all__) - {"__version__"})


def test_type_checkers_see_every_public_name():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    shown = {alias.asname for node in block.body for alias in node.names}
    assert shown == set(fm.__all__) - {"__version__"}
    assert (PACKAGE / "py.typed").is_file()


def test_a_model_is_the_registered_class():
    assert fm.MMoE is registry.model("MMoE")


def test_a_name_that_does_not_exist_is_told_with_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'Categorial'. Did you mean 'Categorical'"):
        _ = fm.Categorial


def test_importing_and_describing_loads_neither_tensorflow_nor_pandas():
    code = (
        "import sys, fuxi_mtl as fm\n"
        "assert not {'tensorflow', 'pandas', 'numpy', 'yaml'} & set(sys.modules), 'heavy import'\n"
        "fm.Dataset({'a': [1], 'y': [0]}, valid_size=0.5, features=[fm.Numeric('a')], tasks={'t': 'y'})\n"
        "assert not {'tensorflow', 'keras', 'pandas'} & set(sys.modules), 'heavy data'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_completion_offers_public_names_alone():
    assert {name for name in dir(fm) if not name.startswith("__")} == set(fm.__all__) - {"__version__"}


def test_help_shows_the_options_of_a_model_with_plain_types():
    shown = str(inspect.signature(fm.MMoE))
    assert "num_experts: int = 8" in shown
    assert "embedding_dim: int = 16" in shown
    assert "Option" not in shown

    class Narrow(fm.MMoE):
        """A model that takes the constructor of another."""

    assert signature_of(Narrow).options["embedding_dim"].option.least == 1
