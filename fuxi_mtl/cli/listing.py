"""What there is to choose from, as text."""

from fuxi_mtl import registry
from fuxi_mtl.config import available
from fuxi_mtl.metrics import METRICS


def listing(config_dir: str) -> str:
    """Models with their options, weightings, metrics, and what the configuration folder defines."""
    expids, datasets = available(config_dir)
    sections = {
        "Models": [line for name in registry.names() for line in _model(name)],
        "Weightings (loss_weight)": [
            "EQ                equal",
            "[1.0, 0.5]        manual, in the order of the objectives",
            "{ctr: 1, cvr: 2}  manual, by name",
            "UW                uncertainty weighting (uw_form, uw_lr)",
            "GN                GradNorm (gradnorm_alpha, gradnorm_lr, gradnorm_init, gradnorm_init_batches)",
            "DWA               dynamic weight average (dwa_temperature, dwa_period)",
            "RLW               random, a control",
            "GLS               geometric mean of the losses",
            "NISE              losses brought up to a reference's (nise_alpha, nise_beta, nise_reference)",
        ],
        "Metrics": [", ".join(METRICS)],
        f"Datasets in {config_dir}": list(datasets) or ["none"],
        f"Experiments in {config_dir}": list(expids) or ["none"],
    }
    return "\n\n".join(
        "\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in sections.items()
    )


def _model(name: str) -> list[str]:
    options = registry.options(name).values()
    return [
        f"{name}: {registry.summary(name)}",
        *(f"    {option.name}: {option.default!r}" for option in options),
    ]
