"""The block ``gate_stabilize``: temperature, noise, entropy and load balance of gates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class GateStabilize:
    """Temperature and noise of gates, and what they add to the loss.

    A gate of logits u is, in training, ``softmax((u + noise) / temperature)`` with normal noise, and the
    total loss gets, once a step, ``R = w_H (- mean_bt H(g_bt)) + w_KL mean_t KL(mean_b g_bt || uniform)``.
    Minimising R spreads the gate of every row (first term) and the use of experts over a batch (second).

    Example:
        >>> model = fm.MMoE(data.features, data.tasks, gate_stabilize=fm.GateStabilize(temperature=2.0))
        >>> model.logits(frame).shape
        (24, 2)
    """

    foreign: ClassVar[Mapping[str, str]] = {
        "log_stats": "write log_health_metrics: True beside the model's options."
    }

    enabled: bool = option(True, "False is a gate without any of this.")
    temperature: float = option(
        1.2, "Above 1 the shares are closer to each other, in training and afterwards.", above=0
    )
    noise_std: float = option(
        0.05, "Deviation of the noise, in training only, before the temperature.", least=0
    )
    eps: float = option(1e-8, "Added inside the logarithm of the entropy.", above=0)
    entropy_reg_weight: float = option(
        1e-3,
        "w_H, factor of the negative entropy. It rewards gates that choose nothing, so 0 lets experts "
        "specialise.",
        least=0,
    )
    load_balance_kl_weight: float = option(
        1e-3, "w_KL, factor of how far a batch's use of the experts is from equal use.", least=0
    )

    @property
    def penalises(self) -> bool:
        """Whether it adds to the loss."""
        return self.entropy_reg_weight > 0 or self.load_balance_kl_weight > 0
