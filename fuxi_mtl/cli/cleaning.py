"""The command ``clean``: what it takes, and what it prints."""

import argparse
import re
from collections.abc import Callable, Iterator

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def add_clean(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Declares the command, by what adds one."""
    sub = command(
        "clean",
        "Remove what killed processes left, and encoded data that nothing has used for long.",
        "clean --older-than 30d --dry-run",
    )
    sub.add_argument(
        "--older-than",
        type=_seconds,
        default="30d",
        metavar="AGE",
        help="age of encoded data that go, counted from their last use, and of what another machine may be "
        "writing: 45m, 12h, 30d or 2w (default: %(default)s)",
    )
    sub.add_argument("--dry-run", action="store_true", help="only say what would go")
    sub.add_argument(
        "--model_root", nargs="+", help="folders of runs; those that the stanzas name unless said"
    )
    sub.add_argument(
        "--data_root", nargs="+", help="folders of encoded data; those that the stanzas name unless said"
    )


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: write a number with m, h, d or w, such as 30d")
    return float(found[1]) * _UNITS[found[2]]


def cleaned(options: argparse.Namespace) -> Iterator[str]:
    """Removes leavings, and says of each what it is, how large, and why it stays if it does.

    Raises:
        ValueError: The stanzas cannot be read.
        OSError: Something cannot be removed.
    """
    from fuxi_mtl.config import named_roots
    from fuxi_mtl.workflow import cleaning

    model_roots, data_roots = options.model_root, options.data_root
    if not (model_roots and data_roots):
        named = named_roots(options.config)
        model_roots, data_roots = model_roots or named[0], data_roots or named[1]
    done = cleaning.clean(model_roots, data_roots, options.older_than, options.dry_run)
    gone = [each for each in done.found if not each.stays]
    stay = [each for each in done.found if each.stays]
    verb = "would go" if options.dry_run else "removed"
    for each in gone:
        yield f"{verb:<9} {_size(each.size):>9}  {each.path}: {each.what}"
    for each in stay:
        yield f"{'stays':<9} {_size(each.size):>9}  {each.path}: {each.what}, {each.stays}"
    runs = sum(map(cleaning.size_of, done.runs))
    yield (
        f"{len(gone)} {verb}, {_size(sum(each.size for each in gone))}; {len(stay)} of their kinds stay, "
        f"{_size(sum(each.size for each in stay))}; {len(done.runs)} finished runs are never touched, "
        f"{_size(runs)}."
    )


def _size(number: int) -> str:
    if number < 1024:
        return f"{number} bytes"
    power = min((number.bit_length() - 1) // 10, 4)
    return f"{number / 1024**power:.1f} {'KMGT'[power - 1]}iB"
