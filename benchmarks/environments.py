"""Virtual environments of the peers: made once from PyPI, with pinned versions, outside the repository."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE_VARIABLE = "FUXI_MTL_BENCHMARKS"
PYTHON = "python3.11"  # TensorFlow 2.15 has no wheel for later ones
ENVIRONMENTS = ("deepctr", "torch")


def default_cache() -> Path:
    """Where environments and workloads go: some ten gigabytes."""
    return Path(os.environ.get(CACHE_VARIABLE, "~/.cache/fuxi_mtl_benchmarks")).expanduser()


def python_of(environment: str | None, cache: Path) -> Path:
    """The interpreter of an environment, which is installed if it is not there; None is our own."""
    if environment is None:
        return Path(sys.executable)
    if environment not in ENVIRONMENTS:
        raise ValueError(f"there is no environment {environment!r}. Environments: {', '.join(ENVIRONMENTS)}.")
    requirements = HERE / "requirements" / f"{environment}.txt"
    folder = cache / "environments" / environment
    mark = folder / f"installed-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not mark.exists():
        _install(folder, requirements)
        mark.touch()
    return python


def _install(folder: Path, requirements: Path) -> None:
    interpreter = shutil.which(PYTHON)
    if interpreter is None:
        raise ValueError(f"{PYTHON} is not on the PATH; the peers' environments need it.")
    print(f"Installing {requirements.name} into {folder} ...", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([interpreter, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq"]
    subprocess.run([*pip, "-r", str(requirements)], check=True)
