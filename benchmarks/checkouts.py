"""An earlier checkout beside this one: what a change is worth, in one run on one machine."""

from pathlib import Path

from benchmarks.runner import ROOT

NOW, BEFORE = "now", "before"


def checkouts(before: Path | None) -> dict[str, Path]:
    """Roots by name, the earlier one first.

    Args:
        before: Root of the earlier checkout, or None.

    Raises:
        ValueError: There is no checkout in that folder.
    """
    if before is None:
        return {NOW: ROOT}
    if not (before / "fuxi_mtl").is_dir():
        raise ValueError(f"--before {before} is no checkout of fuxi_mtl: git worktree add makes one.")
    return {BEFORE: before.resolve(), NOW: ROOT}
