"""Models, options, weightings, metrics, datasets and experiments to choose from, as text."""

from collections.abc import Sequence

from fuxi_mtl import registry
from fuxi_mtl.cli import reference
from fuxi_mtl.config import available
from fuxi_mtl.hints import among
from fuxi_mtl.metrics import METRICS
from fuxi_mtl.options import Family
from fuxi_mtl.options.shared import own_first


def listed(what: Sequence[str], config_dir: str, style: str = "terminal") -> str:
    """What the command ``list`` prints.

    Args:
        what: Nothing for an overview; ``options``, ``options KEY``, ``metrics``, or a model.
        config_dir: Folder with stanzas.
        style: ``terminal``, or ``markdown`` for the page of all options or metrics.

    Raises:
        ValueError: There is no such thing, or no such page of it.
    """
    name, *rest = what or ["everything"]
    if style == "markdown" and (name not in ("options", "metrics") or rest):
        raise ValueError("--format markdown is for `list options` and `list metrics`, the pages of all.")
    if not what:
        return listing(config_dir)
    if name == "options" and len(rest) <= 1:
        if rest:
            return reference.one_option(rest[0])
        return reference.markdown() if style == "markdown" else reference.all_options()
    if rest:
        raise ValueError(f"list {' '.join(what)}: only options takes a second word, the key.")
    if name == "metrics":
        return reference.metrics_page() if style == "markdown" else reference.all_metrics()
    known = ["options", "metrics", *registry.names()]
    if name not in registry.names():
        raise ValueError(f"there is no list of {name!r}.{among(name, known)}")
    return reference.one_model(name)


def listing(config_dir: str) -> str:
    """Models, weightings and so on with their options, metrics, and what the configuration folder defines."""
    expids, datasets = available(config_dir)
    sections = {
        "Models": [line for name in registry.names() for line in _model(name)],
        **{f"{family.plural.capitalize()} ({family.key})": _family(family) for family in Family.known},
        "Metrics": [", ".join(METRICS)],
        f"Datasets in {config_dir}": list(datasets) or ["none"],
        f"Experiments in {config_dir}": list(expids) or ["none"],
    }
    return "\n\n".join(
        "\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in sections.items()
    )


def _family(family: Family) -> list[str]:
    width = max(map(len, family)) + 2
    lines = []
    for member in family.members:
        options = f" ({', '.join(member.options)})" if member.options else ""
        lines.append(f"{member.name:<{width}}{member.summary.replace('``', '')}{options}")
    return [*lines, *(f"{'':<{width}}{each}" for each in family.also)]


def _model(name: str) -> list[str]:
    options = own_first(registry.options(name)).values()
    return [
        f"{name}: {registry.summary(name)}",
        *(f"    {option.name}: {option.default!r}" for option in options),
    ]
