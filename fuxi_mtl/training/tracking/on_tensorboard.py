"""TensorBoard's files in the folder of a run."""

from collections.abc import Mapping
from typing import Any, ClassVar

from fuxi_mtl.training.tracking.tracker import Outcome, Tracked, Tracker


class TensorBoard(Tracker):
    """Summaries for TensorBoard in the folder of the run, which nothing else reads."""

    package: ClassVar[str] = "tensorboard"

    def __init__(self) -> None:
        self._writer: Any = None
        self._step = 0

    def begin(self, training: Tracked) -> None:
        """Opens a file of events."""
        import tensorflow as tf

        self._writer = tf.summary.create_file_writer(str(training.summaries))
        rows = [f"| {key} | {value} |" for key, value in {**training.lineage, **training.parameters}.items()]
        with self._writer.as_default(step=0):
            tf.summary.text("stanza", "\n".join(["| key | value |", "| --- | --- |", *rows]))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes a point of each curve."""
        import tensorflow as tf

        self._step = step
        with self._writer.as_default(step=step):
            for name, value in numbers.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def pause(self) -> None:
        """Closes the file, which is moved now."""
        self._writer.close()

    def end(self, outcome: Outcome) -> None:
        """Adds the metrics of a whole run, in a file of their own."""
        if not outcome.metrics:
            return
        import tensorflow as tf

        writer = tf.summary.create_file_writer(str(outcome.files[0].parent / "tensorboard"))
        with writer.as_default(step=self._step):
            for name, value in outcome.metrics.items():
                tf.summary.scalar(f"final/{name}", value)
        writer.close()
