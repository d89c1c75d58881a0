"""The block ``fusion_start`` of M3oE: where the four learnt numbers start."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class FusionStart:
    """The numbers themselves, not the parameters behind them."""

    domain_weight: float = option(0.5, "w_d, the weight of the experts of domains.", above=0, below=1)
    task_weight: float = option(0.5, "w_t, the weight of the experts of tasks.", above=0, below=1)
    domain_balance: float = option(
        0.7, "beta_d, the share of a row's own domain among them.", above=0, below=1
    )
    task_balance: float = option(0.7, "beta_t, the share of the own task among them.", above=0, below=1)
