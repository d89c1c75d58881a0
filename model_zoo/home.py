"""HoME: experts of groups of tasks, normalised so that gates can compare them."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import tensorflow as tf
from typing_extensions import Unpack

from fuxi_mtl.layers import FeatureEmbedding, Gate, Towers
from fuxi_mtl.layers.experts import mix
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import option
from fuxi_mtl.options.shared import CommonOptions, ExpertUnits, embedding_options, mlp_options
from fuxi_mtl.registry import register

from ._home import NormedExperts


@register
class HoME(MultiTaskModel):
    """Hierarchy of multi-gate experts.

    Tasks lie in groups. With ``FG`` a feature gate a consumer, ``E(x) = swish(BN(x W + b))`` and ``self`` the
    consumer's own experts mixed by a gate of its own, a meta level has shared experts S and experts ``C_c``
    of each group, and a task level S', ``C'_c`` and experts ``T_k`` of each task::

        z_c = softmax(W_c x_c) [C_c, S] + self_c        z_s = softmax(W_s x_s) [S, C_1, C_2, ...] + self_s
        m_k = softmax(W_k [z_c, z_s]) [S'(z_s), C'_c(z_c), T_k(z_c)] + self_k        z_k = tower_k(m_k)

    A task never reads experts of another group at the task level, nor their ``z``; the loss of k reaches the
    meta experts of all groups through ``z_s`` (``shared_reads: shared``: it does not).

    Args:
        features: The inputs.
        tasks: What to predict.

    Raises:
        ValueError: A group names no task, or a task stands in no group or in two.

    Differs from the paper: its authors published no program; the wiring is that of two independent ones, the
    feature gate has the factor 2, so that it starts as the identity.

    Example:
        >>> model = fm.HoME(data.features, data.tasks, task_groups={"watch": ["ctr"], "buy": ["cvr"]})
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Wang et al. HoME: Hierarchy of Multi-Gate Experts for Multi-Task Learning at Kuaishou. KDD 2025.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        task_groups: Annotated[
            dict[str, list[str]] | None,
            option(
                "Tasks of each group; one group of all unless said.",
                example="{watch: [long_view], interact: [like, follow]}",
            ),
        ] = None,
        num_shared_experts: Annotated[int, option("Shared experts of each level.", least=1, most=1000)] = 2,
        num_group_experts: Annotated[
            int, option("Experts of each group, in each level.", least=1, most=1000)
        ] = 2,
        num_specific_experts: Annotated[int, option("Experts of each task.", least=1, most=1000)] = 2,
        expert_hidden_units: ExpertUnits = (128,),
        feature_gate_rank: Annotated[
            int | None,
            option("Rank of each feature gate; an eighth of the width unless said.", least=1, most=65_536),
        ] = None,
        feature_gate_terms: Annotated[
            int, option("Products that are added up in each feature gate.", least=1, most=100)
        ] = 1,
        shared_reads: Annotated[
            str, option("What the shared gate of the meta level reads.", choices=("all", "shared"))
        ] = "all",
        **common: Unpack[CommonOptions],
    ):
        super().__init__(features, tasks)
        if not expert_hidden_units:
            raise ValueError("expert_hidden_units is empty: HoME normalises what its experts give.")
        names, mlp = [task.name for task in tasks], mlp_options(common)
        self.groups = _groups(names, task_groups)
        self.group_of = {task: group for group, members in self.groups.items() for task in members}
        self.reads_all = shared_reads == "all"
        self.embedding = FeatureEmbedding(features, **embedding_options(common))

        def experts(count: int, name: str, mixes: bool = True) -> NormedExperts:
            rank, terms = feature_gate_rank, feature_gate_terms
            return NormedExperts(count, expert_hidden_units, rank, terms, mlp, mixes, name)

        def gate(count: int, name: str) -> Gate:
            return Gate(count, penalty=common["net_regularizer"], name=name)

        shared, group, own = num_shared_experts, num_group_experts, num_specific_experts
        self.meta_shared, self.task_shared = (
            experts(shared, "meta_shared"),
            experts(shared, "task_shared", False),
        )
        self.meta = [experts(group, f"meta_{each}") for each in self.groups]
        self.meta_gates = [gate(group + shared, f"meta_{each}_gate") for each in self.groups]
        everyone = shared + (group * len(self.groups) if self.reads_all else 0)
        self.shared_gate = gate(everyone, "meta_shared_gate")
        self.of_group = [experts(group, f"task_{each}", False) for each in self.groups]
        self.of_task = [experts(own, f"{name}_experts") for name in names]
        self.task_gates = [gate(shared + group + own, f"{name}_gate") for name in names]
        self.towers = Towers(names, common["tower_hidden_units"], outputs=self.head_widths, **mlp)

    def heads(self, x, training=False):
        """See the base class."""
        z, z_shared = self._meta_level(x, training)
        _, common, _ = self.task_shared(z_shared, training=training)
        of_group = {
            name: experts(z[name], training=training)[1]
            for name, experts in zip(self.groups, self.of_group, strict=True)
        }
        mixed = {}
        for name, experts, gate in zip(self.towers.names, self.of_task, self.task_gates, strict=True):
            group = self.group_of[name]
            _, outputs, own = experts(z[group], training=training)
            shares = gate(tf.concat([z[group], z_shared], axis=1), training=training)
            seen = tf.concat([common, of_group[group], outputs], axis=1)
            mixed[name] = mix([shares], seen)[0] + own
        return self.towers(mixed, training=training)

    def shared_variables(self):
        """The last kernels of the task level's shared experts."""
        return [variable for last in self.task_shared.lasts for variable in last.last_variables()]

    def _meta_level(self, x: tf.Tensor, training: bool) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """What the task level sees: a vector for each group, and the shared one."""
        seen, shared, own_shared = self.meta_shared(x, training=training)
        z, outputs = {}, []
        for name, experts, gate in zip(self.groups, self.meta, self.meta_gates, strict=True):
            gated, output, own = experts(x, training=training)
            shares = gate(gated, training=training)
            z[name] = mix([shares], tf.concat([output, shared], axis=1))[0] + own
            outputs.append(output)
        everyone = tf.concat([shared, *outputs], axis=1) if self.reads_all else shared
        return z, mix([self.shared_gate(seen, training=training)], everyone)[0] + own_shared


def _groups(names: Sequence[str], given: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """The tasks of each group."""
    groups = {"all": list(names)} if given is None else {group: list(each) for group, each in given.items()}
    members = [name for each in groups.values() for name in each]
    for name in members:
        if name not in names:
            raise ValueError(f"task_groups names {name!r}, which is no task. Tasks: {', '.join(names)}.")
    for name in names:
        if members.count(name) != 1:
            found = "no group" if name not in members else "two groups"
            raise ValueError(f"task_groups: the task {name!r} stands in {found}; every task has one.")
    return groups
