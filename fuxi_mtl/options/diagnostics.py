"""What is measured of a training."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class DiagnosticsOptions:
    """What is measured of a training beside it; nothing here changes the training."""

    grad_diag_enabled: bool = option(False, "Measure how far the objectives' gradients agree.")
    grad_diag_every: int | None = option(None, "Steps between measurements; grad_diag_target unless said.")
    grad_diag_target: int = option(1000, "Measurements to spread over all steps of the epochs.")
    grad_diag_min: int = option(500, "Fewer measurements than this are warned of.")
    grad_diag_min_tasks: int = option(2, "A variable is shared if so many objectives reach it.")
    log_health_metrics: bool = option(False, "Measure how gates use their experts.")
