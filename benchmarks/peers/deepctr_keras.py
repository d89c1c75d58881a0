"""DeepCTR 0.9.4 on TensorFlow 2.15: its MMOE, Keras `fit` on a dict of arrays, Keras `predict`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from deepctr.feature_column import DenseFeat, SparseFeat
from deepctr.models.multitask.mmoe import MMOE

from benchmarks.peers.protocol import ENDLESS, Clock, Request, inputs_of, serve
from benchmarks.workload import Columns, Workload


class _Clocked(tf.keras.callbacks.Callback):
    def __init__(self, clock: Clock):
        super().__init__()
        self._clock = clock

    def on_train_batch_end(self, batch, logs=None):
        """Keras calls it after each step."""
        self._clock.step()


def _model(request: Request, workload: Workload) -> tf.keras.Model:
    fields = zip(workload.field_names, workload.sizes, strict=True)
    features = [SparseFeat(name, size, embedding_dim=request.dim) for name, size in fields]
    features += [DenseFeat(name, 1) for name in workload.number_names]
    model = MMOE(
        features,
        num_experts=request.experts,
        expert_dnn_hidden_units=request.expert_units,
        tower_dnn_hidden_units=request.tower_units,
        gate_dnn_hidden_units=(),
        l2_reg_embedding=0,
        task_types=("binary",) * workload.tasks,
        task_names=workload.labels,
    )
    model.compile(tf.keras.optimizers.Adam(1e-3), ["binary_crossentropy"] * workload.tasks)
    return model


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """Its documented way: `fit` on numpy arrays, shuffled."""
    _model(request, workload).fit(
        inputs_of(workload, columns),
        [columns[name] for name in workload.labels],
        batch_size=request.batch,
        epochs=ENDLESS,
        verbose=0,
        callbacks=[_Clocked(clock)],
    )


def predict(request: Request, workload: Workload, columns: Columns):
    """`predict` on numpy arrays."""
    model, inputs = _model(request, workload), inputs_of(workload, columns)
    return lambda: model.predict(inputs, batch_size=request.batch, verbose=0)


if __name__ == "__main__":
    serve(("deepctr", "tensorflow", "tensorflow-cpu", "keras", "numpy"), train, predict)
