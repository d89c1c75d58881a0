"""The block ``sparse_routing``: few experts for each row."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import MOST_PARTS, option


@dataclass(frozen=True)
class SparseRouting:
    """Few experts of many for each row: some that all of its tasks agree on, then some that each adds.

    With ``p_t`` the gate of a task, S the ``shared_experts`` with the largest ``sum_t w_t p_te`` in a row,
    and ``K_t`` those and the ``own_experts`` with the largest ``p_te`` outside of S::

        f_t = sum_{e in K_t} p_te / (sum_{K_t} p_t) f_e

    so that a row reads ``shared_experts + T own_experts`` of them at most. The total loss gets, once a step,
    ``balance (E / K) sum_e share_e mean(p_e)``, in which ``share_e`` is how many of a batch's rows and tasks
    chose e, a constant; it falls as experts are chosen alike.

    All experts are computed, and those that a row does not read get nothing of it: this saves no time here.

    Raises:
        ValueError: No expert, or weights of which none is above 0.

    Example:
        >>> routing = fm.SparseRouting(shared_experts=1, own_experts=2)
        >>> model = fm.MMoE(data.features, data.tasks, num_experts=16, sparse_routing=routing)
        >>> model.logits(frame).shape
        (24, 2)
    """

    shared_experts: int = option(1, "Experts that all tasks of a row read.", least=0, most=MOST_PARTS)
    own_experts: int = option(1, "Experts that each task of a row adds.", least=0, most=MOST_PARTS)
    balance: float = option(0.01, "Factor of the penalty of unequal use.", least=0)
    task_weights: dict[str, float] | None = option(
        None,
        "How much each task counts in what all read, as shares of their sum; equal unless said.",
        least=0,
        example="{ctr: 1, cvr: 2}",
    )

    def __post_init__(self):
        if not isinstance(self.shared_experts, int) or not isinstance(self.own_experts, int):
            return  # which the options say
        if self.shared_experts + self.own_experts < 1:
            raise ValueError("shared_experts and own_experts are 0: a row reads one expert at least.")
        if self.task_weights is not None and not sum(self.task_weights.values()) > 0:
            raise ValueError("task_weights are 0: one at least is above 0.")
