"""The state of a training: what it is, where it is kept, when it is saved, and the way back."""

from fuxi_mtl.training.state.finished import FinishedTraining
from fuxi_mtl.training.state.folder import (
    CURES,
    FORMAT,
    RATES,
    StateFolder,
    Stored,
    stored_states,
    training_folder,
)
from fuxi_mtl.training.state.saving import Saving
from fuxi_mtl.training.state.training_state import Source, TrainingState, take_up

__all__ = [
    "CURES",
    "FORMAT",
    "RATES",
    "FinishedTraining",
    "Saving",
    "Source",
    "StateFolder",
    "Stored",
    "TrainingState",
    "stored_states",
    "take_up",
    "training_folder",
]
