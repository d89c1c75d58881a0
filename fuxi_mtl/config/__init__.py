"""Stanzas of a config folder as checked experiments, before any data is read.

A folder holds ``model_config.yaml`` and ``dataset_config.yaml`` (or folders of these names). The keys of
an experiment are merged from four layers, the later ones stronger:

1. ``Base`` of the file that has the stanza (or the only Base there is),
2. the expid's stanza,
3. the stanza of its ``dataset_id``,
4. ``--set key=value``; ``--set block.key=value`` changes one entry of a block.

Keys in the words of FuxiCTR, of its multi-task fork and of older versions are put into ours
(:mod:`fuxi_mtl.config.foreign_names`), each with a line in the log of the run. Every key then goes to its one
owner: a class of :mod:`fuxi_mtl.options` or the signature of the model. A key that nobody owns is an error.
Rules that need a word:

- Keys of the dataset may stand in a stanza or in Base, and keys of the experiment in the dataset's
  stanza (``group_id``, say). Where a stanza and its dataset give one key different values, neither wins
  silently: it is an error. What Base says gives way.
- Base may hold options of other models; they are left out for a model that does not have them.
- ``tasks`` and a ``given`` in ``label_col`` may go together as long as they agree: a task on that label
  must name the condition, as in ``conversion | click``.
- ``group_id`` must be a meta column. A column may be listed twice, as an input and as meta.
- Options of a weighting that is not chosen are an error, except from Base, or when a higher layer
  (``--set loss_weight=EQ``) has exchanged the weighting. ``monitor_mode`` likewise, and options of a model
  that was exchanged, with a line in the log.
- Paths are relative to the working directory, as in FuxiCTR.

TensorFlow is not imported here.
"""

from fuxi_mtl.config.experiment import (
    Available,
    Experiment,
    available,
    check_further,
    check_stanzas,
    experiment_on,
    load_experiment,
    load_experiments,
    load_resolved,
    located,
    make_dataset,
    make_experiment,
)
from fuxi_mtl.config.stanzas import named_roots
from fuxi_mtl.options.source_location import ConfigError

__all__ = [
    "Available",
    "ConfigError",
    "Experiment",
    "available",
    "check_further",
    "check_stanzas",
    "experiment_on",
    "load_experiment",
    "load_experiments",
    "load_resolved",
    "located",
    "make_dataset",
    "make_experiment",
    "named_roots",
]
