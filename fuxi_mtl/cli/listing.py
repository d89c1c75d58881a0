"""What there is to choose from, as text."""

from fuxi_mtl import registry
from fuxi_mtl.config import available
from fuxi_mtl.metrics import METRICS
from fuxi_mtl.options import Family


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
    options = registry.options(name).values()
    return [
        f"{name}: {registry.summary(name)}",
        *(f"    {option.name}: {option.default!r}" for option in options),
    ]
