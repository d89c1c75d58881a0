"""Trackers: where a training is followed from outside, and what they are told."""

from fuxi_mtl.training.tracking.following import EXTRAS, Tracking, check_trackers, names_of
from fuxi_mtl.training.tracking.tracker import Outcome, Tracked, Tracker

__all__ = ["EXTRAS", "Outcome", "Tracked", "Tracker", "Tracking", "check_trackers", "names_of"]
