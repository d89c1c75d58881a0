"""Multi-task recommender models on Keras 3: feature -> head -> objective -> weight -> step.

What a program may rely on, in the words of a stanza::

    import fuxi_mtl as fm

    data = fm.Dataset(frame, valid_size=0.1, features=[fm.Categorical("user_id")], tasks={"ctr": "click"})
    run = fm.fit(fm.MMoE(data.features, data.tasks), data, epochs=2)

Everything is imported when it is first asked for: importing this package imports nothing heavy, and
TensorFlow loads with the first name that needs it. Modules, and names that are not in ``__all__``, may move.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuxi_mtl_zoo.adatt import AdaTT as AdaTT
    from fuxi_mtl_zoo.aitm import AITM as AITM
    from fuxi_mtl_zoo.apg_aitm import APG_AITM as APG_AITM
    from fuxi_mtl_zoo.apg_aitm_v2 import APG_AITM_V2 as APG_AITM_V2
    from fuxi_mtl_zoo.apg_mmoe import APG_MMOE as APG_MMOE
    from fuxi_mtl_zoo.apg_shared_bottom import APG_SharedBottom as APG_SharedBottom
    from fuxi_mtl_zoo.cgc import CGC as CGC
    from fuxi_mtl_zoo.cross_stitch import CrossStitch as CrossStitch
    from fuxi_mtl_zoo.dbmtl import DBMTL as DBMTL
    from fuxi_mtl_zoo.deepfm_mmoe import DeepFM_MMoE as DeepFM_MMoE
    from fuxi_mtl_zoo.drjl import DRJL as DRJL
    from fuxi_mtl_zoo.escm2_dr import ESCM2_DR as ESCM2_DR
    from fuxi_mtl_zoo.escm2_ips import ESCM2_IPS as ESCM2_IPS
    from fuxi_mtl_zoo.esm2 import ESM2 as ESM2
    from fuxi_mtl_zoo.esmm import ESMM as ESMM
    from fuxi_mtl_zoo.heuristic_dr import HeuristicDR as HeuristicDR
    from fuxi_mtl_zoo.home import HoME as HoME
    from fuxi_mtl_zoo.knowledge_transfer import KnowledgeTransfer as KnowledgeTransfer
    from fuxi_mtl_zoo.m3oe import M3oE as M3oE
    from fuxi_mtl_zoo.mmoe import MMoE as MMoE
    from fuxi_mtl_zoo.moe import MoE as MoE
    from fuxi_mtl_zoo.mtl_eib import MTL_EIB as MTL_EIB
    from fuxi_mtl_zoo.mtl_imp import MTL_IMP as MTL_IMP
    from fuxi_mtl_zoo.multi_dr import MultiDR as MultiDR
    from fuxi_mtl_zoo.multi_ipw import MultiIPW as MultiIPW
    from fuxi_mtl_zoo.naive_cvr import NaiveCVR as NaiveCVR
    from fuxi_mtl_zoo.naive_ipw import NaiveIPW as NaiveIPW
    from fuxi_mtl_zoo.pepnet import PEPNet as PEPNet
    from fuxi_mtl_zoo.ple import PLE as PLE
    from fuxi_mtl_zoo.share_bottom import ShareBottom as ShareBottom
    from fuxi_mtl_zoo.single_task import SingleTask as SingleTask
    from fuxi_mtl_zoo.snr_trans import SNR_trans as SNR_trans
    from fuxi_mtl_zoo.star import STAR as STAR
    from fuxi_mtl_zoo.stem import STEM as STEM

    from fuxi_mtl.features import Feature as Feature
    from fuxi_mtl.features import FeatureMap as FeatureMap
    from fuxi_mtl.interface.columns import Categorical as Categorical
    from fuxi_mtl.interface.columns import Embedding as Embedding
    from fuxi_mtl.interface.columns import Label as Label
    from fuxi_mtl.interface.columns import Meta as Meta
    from fuxi_mtl.interface.columns import Numeric as Numeric
    from fuxi_mtl.interface.columns import Sequence as Sequence
    from fuxi_mtl.interface.comparing import Comparison as Comparison
    from fuxi_mtl.interface.comparing import compare as compare
    from fuxi_mtl.interface.data import Dataset as Dataset
    from fuxi_mtl.interface.encoding import Encoder as Encoder
    from fuxi_mtl.interface.fitting import Experiment as Experiment
    from fuxi_mtl.interface.fitting import experiment as experiment
    from fuxi_mtl.interface.fitting import fit as fit
    from fuxi_mtl.interface.models import list_models as list_models
    from fuxi_mtl.interface.models import model_options as model_options
    from fuxi_mtl.interface.plotting import plot as plot
    from fuxi_mtl.interface.registering import register_error as register_error
    from fuxi_mtl.interface.registering import register_surgery as register_surgery
    from fuxi_mtl.interface.registering import register_tracker as register_tracker
    from fuxi_mtl.interface.registering import register_weighting as register_weighting
    from fuxi_mtl.interface.run import Run as Run
    from fuxi_mtl.interface.run import evaluate as evaluate
    from fuxi_mtl.interface.run import export as export
    from fuxi_mtl.interface.run import load_run as load_run
    from fuxi_mtl.interface.run import predict as predict
    from fuxi_mtl.interface.tuning import Tuning as Tuning
    from fuxi_mtl.interface.tuning import tune as tune
    from fuxi_mtl.interface.updating import update as update
    from fuxi_mtl.layers import MLP as MLP
    from fuxi_mtl.layers import AttendedTransfer as AttendedTransfer
    from fuxi_mtl.layers import BagPooling as BagPooling
    from fuxi_mtl.layers import Brick as Brick
    from fuxi_mtl.layers import Experts as Experts
    from fuxi_mtl.layers import ExtractionLevels as ExtractionLevels
    from fuxi_mtl.layers import FeatureEmbedding as FeatureEmbedding
    from fuxi_mtl.layers import Gate as Gate
    from fuxi_mtl.layers import GatedExperts as GatedExperts
    from fuxi_mtl.layers import GatedTransfer as GatedTransfer
    from fuxi_mtl.layers import GeneratedMLP as GeneratedMLP
    from fuxi_mtl.layers import InformationTransfer as InformationTransfer
    from fuxi_mtl.layers import Mixture as Mixture
    from fuxi_mtl.layers import SharedBottom as SharedBottom
    from fuxi_mtl.layers import Towers as Towers
    from fuxi_mtl.metrics import mean_of as mean_of
    from fuxi_mtl.metrics import register_metric as register_metric
    from fuxi_mtl.metrics import sums_of as sums_of
    from fuxi_mtl.model import MultiTaskModel as MultiTaskModel
    from fuxi_mtl.objectives import AbsoluteError as AbsoluteError
    from fuxi_mtl.objectives import FocalLoss as FocalLoss
    from fuxi_mtl.objectives import HuberError as HuberError
    from fuxi_mtl.objectives import Objective as Objective
    from fuxi_mtl.objectives import RowLoss as RowLoss
    from fuxi_mtl.objectives import SquaredError as SquaredError
    from fuxi_mtl.objectives import WeightedCrossEntropy as WeightedCrossEntropy
    from fuxi_mtl.optimizers import DeferredUpdates as DeferredUpdates
    from fuxi_mtl.optimizers import DenseEquivalentAdam as DenseEquivalentAdam
    from fuxi_mtl.optimizers import LazyAdam as LazyAdam
    from fuxi_mtl.optimizers import RowAdagrad as RowAdagrad
    from fuxi_mtl.optimizers import RowFtrl as RowFtrl
    from fuxi_mtl.optimizers import RowOptimizer as RowOptimizer
    from fuxi_mtl.optimizers import RowSGD as RowSGD
    from fuxi_mtl.optimizers import RowWiseAdagrad as RowWiseAdagrad
    from fuxi_mtl.optimizers import SplitOptimizer as SplitOptimizer
    from fuxi_mtl.optimizers import with_rows as with_rows
    from fuxi_mtl.options.blocks import GateStabilize as GateStabilize
    from fuxi_mtl.options.blocks import Generation as Generation
    from fuxi_mtl.options.blocks import SequenceGroup as SequenceGroup
    from fuxi_mtl.options.blocks import SparseRouting as SparseRouting
    from fuxi_mtl.registry import register as register
    from fuxi_mtl.surgery import Backward as Backward
    from fuxi_mtl.surgery import SurgeryMethod as SurgeryMethod
    from fuxi_mtl.tasks import Task as Task
    from fuxi_mtl.training.tracking import Tracker as Tracker
    from fuxi_mtl.weighting import CoefficientOfVariation as CoefficientOfVariation
    from fuxi_mtl.weighting import DynamicAverage as DynamicAverage
    from fuxi_mtl.weighting import Equal as Equal
    from fuxi_mtl.weighting import ExcessRisk as ExcessRisk
    from fuxi_mtl.weighting import FastAdaptive as FastAdaptive
    from fuxi_mtl.weighting import GeometricMean as GeometricMean
    from fuxi_mtl.weighting import GradNorm as GradNorm
    from fuxi_mtl.weighting import ImpartialLosses as ImpartialLosses
    from fuxi_mtl.weighting import LossRatio as LossRatio
    from fuxi_mtl.weighting import Manual as Manual
    from fuxi_mtl.weighting import NormalisedEntropy as NormalisedEntropy
    from fuxi_mtl.weighting import RandomWeights as RandomWeights
    from fuxi_mtl.weighting import SmoothTchebycheff as SmoothTchebycheff
    from fuxi_mtl.weighting import SoftOptimal as SoftOptimal
    from fuxi_mtl.weighting import Uncertainty as Uncertainty
    from fuxi_mtl.weighting import Weighting as Weighting
    from fuxi_mtl.workflow.sweep import SweepError as SweepError

__version__ = "0.1.0"

_MODULES = {
    "fuxi_mtl.features": ("Feature", "FeatureMap"),
    "fuxi_mtl.interface.columns": ("Categorical", "Embedding", "Label", "Meta", "Numeric", "Sequence"),
    "fuxi_mtl.interface.comparing": ("Comparison", "compare"),
    "fuxi_mtl.interface.data": ("Dataset",),
    "fuxi_mtl.interface.encoding": ("Encoder",),
    "fuxi_mtl.interface.fitting": ("Experiment", "experiment", "fit"),
    "fuxi_mtl.interface.models": ("list_models", "model_options"),
    "fuxi_mtl.interface.plotting": ("plot",),
    "fuxi_mtl.interface.registering": (
        "register_error",
        "register_surgery",
        "register_tracker",
        "register_weighting",
    ),
    "fuxi_mtl.interface.run": ("Run", "evaluate", "export", "load_run", "predict"),
    "fuxi_mtl.interface.tuning": ("Tuning", "tune"),
    "fuxi_mtl.interface.updating": ("update",),
    "fuxi_mtl.layers": (
        "MLP",
        "AttendedTransfer",
        "BagPooling",
        "Brick",
        "Experts",
        "ExtractionLevels",
        "FeatureEmbedding",
        "Gate",
        "GatedExperts",
        "GatedTransfer",
        "GeneratedMLP",
        "InformationTransfer",
        "Mixture",
        "SharedBottom",
        "Towers",
    ),
    "fuxi_mtl.metrics": ("mean_of", "register_metric", "sums_of"),
    "fuxi_mtl.model": ("MultiTaskModel",),
    "fuxi_mtl.objectives": (
        "AbsoluteError",
        "FocalLoss",
        "HuberError",
        "Objective",
        "RowLoss",
        "SquaredError",
        "WeightedCrossEntropy",
    ),
    "fuxi_mtl.optimizers": (
        "DeferredUpdates",
        "DenseEquivalentAdam",
        "LazyAdam",
        "RowAdagrad",
        "RowFtrl",
        "RowOptimizer",
        "RowSGD",
        "RowWiseAdagrad",
        "SplitOptimizer",
        "with_rows",
    ),
    "fuxi_mtl.options.blocks": ("GateStabilize", "Generation", "SequenceGroup", "SparseRouting"),
    "fuxi_mtl.registry": ("register",),
    "fuxi_mtl.surgery": ("Backward", "SurgeryMethod"),
    "fuxi_mtl.tasks": ("Task",),
    "fuxi_mtl.training.tracking": ("Tracker",),
    "fuxi_mtl.weighting": (
        "CoefficientOfVariation",
        "DynamicAverage",
        "Equal",
        "ExcessRisk",
        "FastAdaptive",
        "GeometricMean",
        "GradNorm",
        "ImpartialLosses",
        "LossRatio",
        "Manual",
        "NormalisedEntropy",
        "RandomWeights",
        "SmoothTchebycheff",
        "SoftOptimal",
        "Uncertainty",
        "Weighting",
    ),
    "fuxi_mtl.workflow.sweep": ("SweepError",),
}
_MODELS = (
    "AITM",
    "APG_AITM",
    "APG_AITM_V2",
    "APG_MMOE",
    "APG_SharedBottom",
    "AdaTT",
    "CGC",
    "CrossStitch",
    "DBMTL",
    "DRJL",
    "DeepFM_MMoE",
    "ESCM2_DR",
    "ESCM2_IPS",
    "ESM2",
    "ESMM",
    "HeuristicDR",
    "HoME",
    "KnowledgeTransfer",
    "M3oE",
    "MMoE",
    "MTL_EIB",
    "MTL_IMP",
    "MoE",
    "MultiDR",
    "MultiIPW",
    "NaiveCVR",
    "NaiveIPW",
    "PEPNet",
    "PLE",
    "SNR_trans",
    "STAR",
    "STEM",
    "ShareBottom",
    "SingleTask",
)
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: PLE0604 - names, all of them
    *_MODULE_OF,
    *_MODELS,
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF and name not in _MODELS:
        from fuxi_mtl.hints import did_you_mean

        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{did_you_mean(name, __all__)}")
    import random

    callers = random.getstate()  # a library that Keras imports draws from the program's generator
    try:
        if name in _MODULE_OF:
            found = getattr(importlib.import_module(_MODULE_OF[name]), name)
        else:
            from fuxi_mtl import registry

            registry.import_zoo()
            found = registry.model(name)
    finally:
        random.setstate(callers)
    globals()[name] = found  # the next time Python finds it by itself
    return found


def __dir__() -> list[str]:
    """What completion offers: the public names, and no module that happens to be imported."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
