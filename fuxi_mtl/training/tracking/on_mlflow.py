"""MLflow: a database beside the runs, or a server."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fuxi_mtl.options import option
from fuxi_mtl.training.tracking.tracker import Outcome, Tracked, Tracker

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_LONGEST = 500  # letters of a parameter, and of a tag
# Unless the user has said otherwise: a server that is gone holds a training up for seconds, not for minutes,
# and MLflow does not report to its makers how it is used.
_UNLESS_SAID = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class MLflow(Tracker):
    """A run of MLflow, in a SQLite file unless a server is named."""

    package: ClassVar[str] = "mlflow"

    def __init__(
        self,
        *,
        mlflow_uri: Annotated[
            str | None,
            option(
                "Where MLflow's runs go: a database or a server; what MLFLOW_TRACKING_URI says, else "
                "mlflow.db in the folder of the command, unless said.",
                example="http://127.0.0.1:5000",
            ),
        ] = None,
        mlflow_experiment: Annotated[
            str | None, option("MLflow's experiment; the dataset's name unless said.", example="shop")
        ] = None,
    ):
        uri = mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        self._uri, self._experiment = uri, mlflow_experiment
        self._client: Any = None
        self._run = ""

    def begin(self, training: Tracked) -> str:
        """Makes a run with its parameters and tags, or goes on with the one it knows."""
        for name, value in _UNLESS_SAID.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=self._uri)
        if training.known_as:
            self._run = training.known_as
            self._client.update_run(self._run, status="RUNNING")
            return self._run
        name = self._experiment or training.dataset_id
        known = self._client.get_experiment_by_name(name)
        place = known.experiment_id if known else self._client.create_experiment(name)
        tags = {key: value[:_LONGEST] for key, value in training.lineage.items()}
        tags |= {"expid": training.expid, "seed": str(training.seed), "dataset_id": training.dataset_id}
        self._run = self._client.create_run(place, tags=tags, run_name=training.name).info.run_id
        given = [Param(key, str(value)[:_LONGEST]) for key, value in training.parameters.items()]
        for first in range(0, len(given), 100):  # the most that one request takes
            self._client.log_batch(self._run, params=given[first : first + 100])
        return self._run

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """A point of each curve, in one request."""
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(_name(name), value, now, step) for name, value in numbers.items()]
        for first in range(0, len(points), 1000):  # the most that one request takes
            self._client.log_batch(self._run, metrics=points[first : first + 1000])

    def end(self, outcome: Outcome) -> None:
        """Metrics and files, and how it ended."""
        if outcome.metrics:
            self.log(0, {f"final/{name}": value for name, value in outcome.metrics.items()})
        for file in outcome.files:
            self._client.log_artifact(self._run, str(file))
        self._client.set_terminated(self._run, _STATUS[outcome.status])


def _name(name: str) -> str:
    """A name as MLflow takes it."""
    return re.sub(r"[^\w\-. /]", "_", name)
