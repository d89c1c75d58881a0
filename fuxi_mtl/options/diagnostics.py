"""Options of the diagnostics of training."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class DiagnosticsOptions:
    """What is measured of a training beside it; nothing here changes the training."""

    grad_diag_enabled: bool = option(False, "Measure how far the gradients of the objectives agree.")
    grad_diag_every: int | None = option(
        None, "Steps between such measurements; as grad_diag_target spreads them unless said.", least=1
    )
    grad_diag_target: int = option(
        1000, "Number of measurements to spread over all steps of the epochs.", least=1
    )
    grad_diag_min: int = option(500, "Warn of fewer measurements than this.", least=0)
    grad_diag_min_tasks: int = option(
        2, "Number of objectives that must reach a variable for it to count as shared.", least=2
    )
    log_health_metrics: bool = option(False, "Measure how gates use their experts.")
