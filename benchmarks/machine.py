"""What the numbers depend on beside the code."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

# What a measurement writes itself, and words.
_RESULTS = tuple(f":(top,exclude){name}" for name in ("benchmarks/results", "benchmarks/pictures", "*.md"))
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")


def machine() -> dict[str, Any]:
    """Processor, memory, system, commit and time."""
    cpu = _read("/proc/cpuinfo")
    memory = _read("/proc/meminfo")
    flags = set(_after(cpu, "flags").split())
    return {
        "cpu": _after(cpu, "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "memory_gb": round(int((_after(memory, "MemTotal") or "0").split()[0]) / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "commit": commit_of(Path(__file__).parent),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def has_fast_bfloat16() -> bool:
    """Whether matrix products in bfloat16 are done in hardware; elsewhere they are slower than float32."""
    return bool({"amx_bf16", "avx512_bf16"} & set(_after(_read("/proc/cpuinfo"), "flags").split()))


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""


def _after(text: str, key: str) -> str:
    lines = (line for line in text.splitlines() if line.startswith(key))
    return next(lines, ":").partition(":")[2].strip()


def commit_of(folder: Path) -> str | None:
    """What a checkout is of, marked where more than results and texts differs; None if nobody can tell."""
    try:
        commit = _git(folder, "describe", "--always")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", *_RESULTS)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.strip()
