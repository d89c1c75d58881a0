"""A finished run as an object: its numbers, its model, and what one does with them."""

from pathlib import Path
from typing import Any, cast

import yaml

from fuxi_mtl import runs
from fuxi_mtl.comparison import read_run
from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset.csv_reading import CsvFormat
from fuxi_mtl.dataset.frames import is_frame
from fuxi_mtl.dataset.sources import copies_of, read_file
from fuxi_mtl.files import write_text
from fuxi_mtl.files.remote import as_path, check_url, is_url
from fuxi_mtl.interface.data import Reader, TemporaryFolder, with_reader
from fuxi_mtl.interface.session import leaves_no_trace
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.report import run_page
from fuxi_mtl.workflow.evaluating import evaluate_rows
from fuxi_mtl.workflow.experiment import export_run
from fuxi_mtl.workflow.experiment import load_run as load_model
from fuxi_mtl.workflow.fuse import load_fusion
from fuxi_mtl.workflow.remote_runs import fetch_run

Rows = Any


class Run:
    """A finished run.

    Args:
        folder: Where it lies.
        owner: Keeps a temporary folder as long as the run is there.
        model: The trained model, if it is at hand.

    Raises:
        ValueError: The folder holds no finished run.

    Example:
        >>> run = fm.fit(model, data, epochs=1)
        >>> sorted(run.metrics)
        ['test', 'valid']
        >>> run.predict(frame).columns.tolist()
        ['ctr', 'cvr']
    """

    def __init__(
        self,
        folder: str | Path,
        owner: TemporaryFolder | None = None,
        model: MultiTaskModel | None = None,
    ):
        self._run, self._owner = runs.Run(Path(folder)), owner
        self._content: dict[str, Any] = self._run.read_json(self._run.metrics)
        self._model, self._fits = model, model.recipe.fits if model is not None else 0

    @property
    def folder(self) -> Path:
        """Where it lies; a temporary folder is gone with this object."""
        return self._run.folder

    @property
    def expid(self) -> str:
        """The experiment that it is a run of."""
        return str(self._content["expid"])

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self._content["seed"])

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The metrics of each split, ``valid`` and ``test``, by ``{task}_{metric}``; NaN where undefined."""
        splits = {name: self._content.get(name) for name in ("valid", "test")}
        return {
            name: {key: float("nan") if value is None else value for key, value in values.items()}
            for name, values in splits.items()
            if values
        }

    @property
    def update(self) -> dict[str, Any]:
        """How it follows an earlier run: its day, rows and vocabularies; empty for a run that follows none.

        ``progressive`` has the metrics of the new rows ``before`` and ``after`` it was trained on them.
        """
        return dict(self._content.get("update") or {})

    @property
    def history(self) -> list[dict[str, Any]]:
        """A record for each evaluation during training: step, epoch, losses, weights, metrics."""
        return list(self._run.read_json(self._run.history)["evaluations"])

    @property
    def model(self) -> MultiTaskModel:
        """The trained model, with the best weights. Out of a folder it computes in ``eval_precision``."""
        if self._model is None or self._model.recipe.fits != self._fits:  # trained further since
            self._model, self._fits = self._loaded(), 0
        return self._model

    @leaves_no_trace
    def predict(self, rows: Rows) -> Any:
        """Probabilities (values of a regression) of rows, a column a task.

        Behind them comes ``fused_score`` if the run has a fusion of single rows.

        Args:
            rows: A frame of pandas or polars, an arrow table, a dict of arrays, or a file. Labels are not
                needed.

        Returns:
            A frame as the rows came in, with the index of a pandas frame; of a file a polars frame.

        Raises:
            ValueError: A column is missing, or an entry cannot be read.
        """
        rows = self._read(rows)
        model = self.model
        reader = _reader(model)
        ids, numeric = reader.encode(rows)
        inputs = {"ids": ids, "numeric": numeric}
        scores = dict(model.predict(inputs, batch_size=8192, verbose=0))
        fusion = load_fusion(self._run, model.features, row_by_row=True)
        if fusion is not None:
            import tensorflow as tf

            scores["fused_score"] = fusion(
                *tf.nest.map_structure(tf.convert_to_tensor, (inputs, scores))
            ).numpy()
        return reader.like(rows, scores)

    def evaluate(self, rows: Rows) -> dict[str, float]:
        """The metrics of rows with labels, by ``{task}_{metric}``, as the run's own rows were measured.

        Args:
            rows: As :meth:`predict` takes them, with the columns of the labels, of ``group_id`` and, if the
                run has one, of the weights.

        Raises:
            ValueError: A column is missing, or an entry cannot be read.
        """
        return _evaluate(self, self._read(rows))

    @leaves_no_trace
    def export(
        self,
        output: str | Path,
        format: str = "savedmodel",  # noqa: A002
        signature: str = "",
        export_dtype: str = "float32",
        bags: str = "padded",
    ) -> Path:
        """Writes the model so that it takes raw columns, or ids; see ``export`` of the command line.

        Args:
            output: Folder of a SavedModel, or a file ``.onnx`` or ``.tflite``.
            format: ``savedmodel``, ``onnx`` or ``litert``.
            signature: ``raw``, or ``from_ids`` for encoded rows: then ``encoding.json`` lies beside the
                model, which :class:`Encoder` reads. ``raw`` unless said; ``litert`` has but the other.
            export_dtype: ``float16`` or ``bfloat16`` stores tables in half the bytes.
            bags: ``text`` has bags of an ONNX file as texts (``a^b^c``), not as padded lists.

        Returns:
            The output.

        Raises:
            ValueError: A choice is unknown or needs a package, or the output cannot be written.
        """
        import_zoo()
        export_run(self.folder, output, format, signature, export_dtype, bags)
        return Path(output)

    def to_html(self) -> str:
        """A page of the run that needs nothing else: data, curves, weights, gates, groups, errors."""
        return run_page.html(read_run(self.folder))

    def stanza(self, folder: str | Path | None = None) -> str:
        """The run as YAML: a stanza of an experiment and one of its dataset, of what is no default.

        Args:
            folder: A config folder to write them into, as ``model_config/{expid}.yaml`` and
                ``dataset_config/{dataset_id}.yaml``.

        Returns:
            Both as one text.

        Raises:
            ValueError: A file of that name is there already.
        """
        experiment = self._experiment()
        model, dataset = experiment.stanzas()
        texts = {
            f"model_config/{experiment.expid}.yaml": {experiment.expid: model},
            f"dataset_config/{experiment.options.dataset_id}.yaml": {experiment.options.dataset_id: dataset},
        }
        written = {
            name: yaml.safe_dump(stanza, sort_keys=False, allow_unicode=True)
            for name, stanza in texts.items()
        }
        for name, text in written.items() if folder is not None else ():
            file = Path(str(folder), name)
            if file.exists():
                raise ValueError(f"{file} is there already: name another folder.")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, text)
        text = "".join(f"# {name}\n{text}" for name, text in written.items())
        if not Path(experiment.dataset.train_data).suffix:
            text += "# Rows in memory have no file: name one.\n"
        return text

    def __repr__(self) -> str:
        split = "test" if "test" in self.metrics else "valid"
        values = ", ".join(f"{key} {value:.4f}" for key, value in self.metrics.get(split, {}).items())
        return f"<Run {self.expid!r}, seed {self.seed}; {split}: {values}>"

    def _experiment(self) -> Experiment:
        import_zoo()
        return load_resolved(self._run.config, self.expid)

    def _read(self, rows: Rows) -> Any:
        """Rows in memory as they are; a file as a frame, read as the run's own files were."""
        if is_frame(rows):
            return rows
        if isinstance(rows, (str, Path)):
            check_url("rows", str(rows))
            trained_on = self._experiment().dataset
            csv = CsvFormat(quote_char=trained_on.quote_char, encoding=trained_on.encoding)
            return read_file("rows", as_path(rows), csv, copies=copies_of(trained_on))
        raise ValueError(
            f"rows are {type(rows).__name__}. They can be: a frame of pandas or polars, an arrow table, a "
            "dict of arrays or lists, or a file."
        )

    @leaves_no_trace
    def _loaded(self) -> MultiTaskModel:
        import_zoo()
        model, encoder = load_model(self.folder, precision=self._experiment().evaluation.eval_precision)
        model.features = with_reader(encoder.feature_map, encoder)
        return model


@leaves_no_trace
def _evaluate(run: Run, rows: Rows) -> dict[str, float]:
    scores, _ = evaluate_rows(run._run, run._experiment(), run.model, _reader(run.model).encoder, rows)
    return dict(scores.values)


def load_run(folder: str | Path) -> Run:
    """A finished run, of this interface or of the command line.

    Args:
        folder: Such as ``checkpoints/tiny_mtl/MMoE_test/seed_2026``; one under a URL is fetched.

    Raises:
        ValueError: The folder holds no finished run.

    Example:
        >>> fm.load_run(run.folder).expid
        'MMoE'
    """
    return Run(fetch_run(folder) if is_url(folder) else folder)


def predict(run: Run, rows: Rows) -> Any:
    """Probabilities of rows by a run; see :meth:`Run.predict`.

    Example:
        >>> len(fm.predict(run, frame)) == len(frame)
        True
    """
    return run.predict(rows)


def evaluate(run: Run, rows: Rows) -> dict[str, float]:
    """The metrics of rows with labels by a run; see :meth:`Run.evaluate`.

    Example:
        >>> 0 <= fm.evaluate(run, frame)["ctr_AUC"] <= 1
        True
    """
    return run.evaluate(rows)


def export(
    run: Run,
    output: str | Path,
    format: str = "savedmodel",  # noqa: A002
    signature: str = "",
    export_dtype: str = "float32",
    bags: str = "padded",
) -> Path:
    """Writes the model of a run for a server; see :meth:`Run.export`.

    Example:
        >>> fm.export(run, "served").name
        'served'
    """
    return run.export(output, format, signature, export_dtype, bags)


def _reader(model: MultiTaskModel) -> Reader:
    """What encodes rows for the model of a run; it has one."""
    return cast("Reader", model.features.reader)
