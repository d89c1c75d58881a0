"""A flipped bit of a run or of the cache is an error that names the file, or changes nothing that is read."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import call

from fuxi_mtl.config import load_resolved
from fuxi_mtl.dataset import Encoder, cache, load_dataset
from fuxi_mtl.runs import Run
from fuxi_mtl.training import checkpoint
from fuxi_mtl.workflow.calibrate import load_calibration
from fuxi_mtl.workflow.experiment import make_model
from fuxi_mtl.workflow.fuse import load_fusion

FLIPS = 40  # of each file
# What is made of a run for others; TensorFlow has checksums of its own in the variables.
OF_OTHERS = ("saved_model", "assets", "variables")


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    """A run with every file that a run may have."""
    folder = tmp_path_factory.mktemp("flipped")
    vectors = folder / "vectors.npz"
    np.savez(vectors, key=np.array(["1", "2"]), value=np.ones((2, 4), np.float32))
    item = f"{{name: item, pretrained_emb: {vectors}, freeze_emb: true}}"
    columns = f"feature_cols=[{item}, {{name: user, type: meta}}]"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        keys = (
            "epochs=1",
            "calibration=platt",
            "fusion={method: ltr, label: {click: 1}, ltr: {features: [item], hidden_units: [4], epochs: 1}}",
            "group_id=user",
        )
        roots = (f"model_root={folder}/runs", f"data_root={folder}/data")
        done = call("run", "--expid", "Toy", "--set", *roots, columns, *keys, "grad_diag_enabled=true")
    assert (done.status, done.err) == (0, "")
    return Run(folder / "runs/toy/Toy/seed_1")


def flips(file: Path):
    """The file with some of its bits the other way round, one at a time; it is as it was at the end."""
    content = file.read_bytes()
    rng = np.random.default_rng(zlib.crc32(file.name.encode()))
    bits = rng.choice(8 * len(content), min(FLIPS, 8 * len(content)), replace=False)
    try:
        for bit in bits.tolist():
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            yield bit
    finally:
        file.write_bytes(content)


def readers(run):
    """How the program reads each file of a run, as something to compare."""
    experiment = load_resolved(run.config, "Toy")
    features = Encoder.load(run.features).feature_map
    model = make_model(experiment, features)

    def network():
        fusion = load_fusion(run, features)
        scores = {name: np.full(3, 0.5, np.float32) for name in ("click", "buy")}
        inputs = {
            "ids": np.ones((3, features.id_columns), np.int32),
            "numeric": np.ones((3, features.numeric_columns), np.float32),
        }
        return fusion(inputs, scores).numpy().tobytes()

    def weights():
        checkpoint.restore(model, run.checkpoint)
        return b"".join(np.asarray(each).tobytes() for each in model.weights)

    def scores(split):
        return {name: array.tobytes() for name, array in run.read_scores(split).arrays.items()}

    def encoder():
        found = Encoder.load(run.features)
        rows = [np.load(file).tobytes() for file in run.features.glob("*.npy")]
        return found.feature_map, found.columns, found.tokens, found.unknown, rows

    found = {
        run.config: lambda: load_resolved(run.config, "Toy").resolved(),
        run.calibration: lambda: repr(load_calibration(run)),
        run.fusion: network,
        run.fusion_network: network,
        run.checkpoint / "state.h5": weights,
        **{run.scores(split): lambda split=split: scores(split) for split in ("valid", "test")},
        **dict.fromkeys(run.features.iterdir(), encoder),
    }
    for path in (run.metrics, run.history, run.environment, run.diagnostics):
        keys = run.read_json(path).keys()
        found[path] = lambda path=path, keys=keys: {key: run.read_json(path, *keys)[key] for key in keys}
    return found


def test_a_flipped_bit_of_a_run_is_told_or_changes_nothing(run):
    read = readers(run)
    files = [each for each in run.folder.rglob("*") if each.is_file() and each.parent.name not in OF_OTHERS]
    assert set(files) == set(read)
    seen = {}
    for file, reader in read.items():
        before = reader()
        for bit in flips(file):
            try:
                after = reader()
            except ValueError as error:
                seen[file] = seen.get(file, 0) + 1
                text = str(error)
                assert file.name in text or file.parent.name in text, (file, bit, text)
                assert "again" in text or file.parent == run.features, (
                    file,
                    bit,
                    text,
                )  # load_run says it there
            else:
                assert after == before, (file, bit)
        assert reader() == before
    assert set(seen) == set(files)


def test_a_flipped_bit_of_the_cache_is_built_again(run, caplog):
    root = run.folder.parents[3] / "data"
    experiment = load_resolved(run.config, "Toy")
    options = replace(experiment.dataset, data_root=str(root))
    folder = load_dataset(options, experiment.tasks, "toy", progress=False).folder
    found = cache.Cache(folder.parent, folder.name.removeprefix("encoded-"))
    for file in sorted(folder.iterdir()):
        for bit in flips(file):
            assert found._damage() in ([file.name], ["manifest.json"], []), bit
            assert found._damage() or file.name == "manifest.json", bit
    before = found._manifest()
    for _ in zip(flips(folder / "train.ids.npy"), range(1), strict=False):
        assert load_dataset(options, experiment.tasks, "toy", progress=False).folder == folder
    assert "train.ids.npy): building it again" in caplog.text
    assert found._manifest() == before


def test_flipped_bits_of_the_hashes_of_files_never_change_them(run, place, monkeypatch):
    monkeypatch.chdir(place)
    root = run.folder.parents[3] / "data/toy"
    files = [Path(place, f"data/toy/{split}.csv") for split in ("train", "valid", "test")]
    wanted = [cache.SourceHashes(root).identity(file) for file in files]
    for _ in flips(root / cache.SOURCES):
        assert [cache.SourceHashes(root).identity(file) for file in files] == wanted
