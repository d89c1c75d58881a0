"""Every YAML key that is not a model's own option: its owner, type, default and meaning.

A key belongs to exactly one class here, or to the signature of the model that the stanza names.
`fuxi_mtl.config` routes a stanza by these fields; nothing else reads YAML. A new family of keys is a file, a
line of :data:`SECTIONS` and a field of ``Experiment``.
"""

from fuxi_mtl.options.bottoms import BOTTOMS
from fuxi_mtl.options.data import POOLING_OF_ENCODER, POOLINGS, DatasetOptions, FeatureOptions, LabelOptions
from fuxi_mtl.options.declaring import MOST_OF_SEEDS, Option, option
from fuxi_mtl.options.diagnostics import DiagnosticsOptions
from fuxi_mtl.options.encoders import ENCODERS
from fuxi_mtl.options.errors import DEFAULT_ERROR, ERRORS, has_default_error
from fuxi_mtl.options.evaluation import ConversionOptions, EvaluationOptions
from fuxi_mtl.options.experiment import ExperimentOptions
from fuxi_mtl.options.family import Family, Member, Names
from fuxi_mtl.options.fusion import FusionOptions, FusionSection, LtrOptions, SearchOptions
from fuxi_mtl.options.imbalance import (
    CALIBRATIONS,
    CVR_AUX,
    AuxFocalOptions,
    ClipScheduleOptions,
    ImbalanceOptions,
    why_not_closed_form,
)
from fuxi_mtl.options.interactions import INTERACTIONS
from fuxi_mtl.options.optimizer import OPTIMIZERS, ROW_OPTIMIZERS, LearningRateOptions, OptimizerOptions
from fuxi_mtl.options.pareto import RULES, ParetoOptions, ParetoSection
from fuxi_mtl.options.surgery import SURGERIES, SURGERY_MODES, SurgeryOptions
from fuxi_mtl.options.tracking import TRACKERS
from fuxi_mtl.options.training import TrainingOptions
from fuxi_mtl.options.values import checked
from fuxi_mtl.options.weighting import WEIGHTINGS, WeightingOptions

# By the name of their field in an experiment, in the order in which a run's config.yaml has them.
SECTIONS: dict[str, type] = {
    "options": ExperimentOptions,
    "weighting": WeightingOptions,
    "optimizer": OptimizerOptions,
    "training": TrainingOptions,
    "evaluation": EvaluationOptions,
    "diagnostics": DiagnosticsOptions,
    "imbalance": ImbalanceOptions,
    "surgery": SurgeryOptions,
    "fusion": FusionSection,
    "pareto": ParetoSection,
    "dataset": DatasetOptions,
}

__all__ = [
    "BOTTOMS",
    "CALIBRATIONS",
    "CVR_AUX",
    "DEFAULT_ERROR",
    "ENCODERS",
    "ERRORS",
    "INTERACTIONS",
    "MOST_OF_SEEDS",
    "OPTIMIZERS",
    "POOLINGS",
    "POOLING_OF_ENCODER",
    "ROW_OPTIMIZERS",
    "RULES",
    "SECTIONS",
    "SURGERIES",
    "SURGERY_MODES",
    "TRACKERS",
    "WEIGHTINGS",
    "AuxFocalOptions",
    "ClipScheduleOptions",
    "ConversionOptions",
    "DatasetOptions",
    "DiagnosticsOptions",
    "EvaluationOptions",
    "ExperimentOptions",
    "Family",
    "FeatureOptions",
    "FusionOptions",
    "FusionSection",
    "ImbalanceOptions",
    "LabelOptions",
    "LearningRateOptions",
    "LtrOptions",
    "Member",
    "Names",
    "OptimizerOptions",
    "Option",
    "ParetoOptions",
    "ParetoSection",
    "SearchOptions",
    "SurgeryOptions",
    "TrainingOptions",
    "WeightingOptions",
    "checked",
    "has_default_error",
    "option",
    "why_not_closed_form",
]
