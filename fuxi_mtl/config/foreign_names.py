"""Names in stanzas for FuxiCTR, its multi-task fork and older versions, and what they are called here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FUXICTR = "FuxiCTR"
FORK = "FuxiCTR's fork"
OLDER = "an older version"
NESTED = "a DeepFM-MMoE file"
_APG = ("APG_AITM", "APG_AITM_V2", "APG_MMOE", "APG_SharedBottom")


@dataclass(frozen=True)
class ForeignName:
    """A key of others.

    Attributes:
        ours: The key that says the same here, such as ``num_experts`` or ``apg.rank_k``; empty if none does.
        advice: What differs, or what to write where there is no such key; a sentence.
        of: Whose name it is.
        models: The models that have it where `ours` is empty; none for a key of every stanza.
        values: What a value is called here, where it is not called the same; no other value is taken.
        same: Values under which the key says what is so here anyway: it is left out. ``(ANY,)`` takes all.
        computed: Whether ours is computed from its value, by :mod:`fuxi_mtl.config.translating`.
    """

    ours: str = ""
    advice: str = ""
    of: str = FUXICTR
    models: tuple[str, ...] = ()
    values: Mapping[Any, Any] = field(default_factory=dict)
    same: tuple = ()
    computed: bool = False

    def explanation(self) -> str:
        """What to do about the key, in a sentence or two, where it could not be taken."""
        if self.ours and not self.advice:
            return f"This is {self.of}'s name of {self.ours}. Write that."
        called = f"{self.of} calls {self.ours} so. " if self.ours else ""
        return called + (self.advice or f"{self.of} has it, and nothing here is like it. Leave it out.")

    def fits(self, value: Any) -> bool:
        """Whether the key can be taken with a value as the row says, with nothing computed."""
        if self.computed:
            return False
        if self.ours:
            return not self.values or _among(value, self.values)
        return _among(value, self.same) or ANY in self.same


ANY = object()

_SELECTED = "the features in condition_features say it: none is self-wise, one group-wise, several mix-wise."

# FuxiCTR's models of how features meet: their keys that stand in the block ``interaction`` here.
INTERACTION_KEYS: dict[str, tuple[str, ...]] = {
    "DCNv2": (
        "model_structure",
        "use_low_rank_mixture",
        "low_rank",
        "num_experts",
        "num_cross_layers",
        "stacked_dnn_hidden_units",
        "parallel_dnn_hidden_units",
    ),
    "MaskNet": (
        "model_type",
        "parallel_num_blocks",
        "parallel_block_dim",
        "reduction_ratio",
        "dnn_hidden_units",
        "emb_layernorm",
        "net_layernorm",
    ),
    "FinalMLP": (
        *(f"mlp{i}_{end}" for i in (1, 2) for end in ("hidden_units", "hidden_activations")),
        *(f"mlp{i}_{end}" for i in (1, 2) for end in ("dropout", "batch_norm")),
        "use_fs",
        "fs_hidden_units",
        "fs1_context",
        "fs2_context",
        "num_heads",
    ),
}
ACTIVATIONS_OF = {"DCNv2": ("dnn_activations",), "MaskNet": ("dnn_hidden_activations",)}
_SAID_ELSEWHERE = ("num_experts", "num_heads", "dnn_hidden_units")  # keys of other models, too

FOREIGN_NAMES: dict[str, ForeignName] = {
    # Older versions
    "architecture_learning_rate": ForeignName("bilevel_learning_rate", of=OLDER),
    "architecture_share": ForeignName("bilevel_share", of=OLDER),
    # DeepFM-MMoE files
    "save_last": ForeignName("save_best_only", of=NESTED, values={True: False, False: True}),
    "auto_eval_ckpt": ForeignName("final_weights", of=NESTED, values={"best": "best", "last": "last"}),
    "auto_eval_split": ForeignName(
        advice="Validation and test rows are measured, both of them.", of=NESTED, same=("valid", "test")
    ),
    # FuxiCTR
    "patience": ForeignName("early_stop_patience"),
    "partition_block_size": ForeignName("data_block_size"),
    "every_x_epochs": ForeignName(
        advice="Write eval_steps: steps between evaluations, an epoch unless said."
    ),
    "version": ForeignName(
        advice="Everything runs on TensorFlow.", same=("pytorch", "tensorflow", "torch", "tf")
    ),
    "gpu": ForeignName(advice="Write --gpu on the command line."),
    "model_id": ForeignName(advice="A run is called by its expid. Leave it out."),
    "num_buckets": ForeignName(
        advice="Write it into the entries of feature_cols that have a category_processor."
    ),
    "manual_weights": ForeignName(
        advice="For fixed weights write loss_weight: [1, 2]; one weighting at a time.", of=FORK
    ),
    "base_config": ForeignName(advice="A tuner's file is read by python -m fuxi_mtl tune --space FILE."),
    "base_expid": ForeignName(advice="A tuner's file is read by python -m fuxi_mtl tune --space FILE."),
    "tuner_space": ForeignName(advice="A tuner's file is read by python -m fuxi_mtl tune --space FILE."),
    # Its models of histories
    **{
        key: ForeignName(
            "sequences", f"It is read with {prefix}_sequence_field and {prefix}_target_field.", computed=True
        )
        for prefix, keys in {
            "din": (
                "din_target_field",
                "din_sequence_field",
                "din_use_softmax",
                "attention_hidden_units",
                "attention_hidden_activations",
                "attention_output_activation",
                "attention_dropout",
            ),
            "bst": (
                "bst_target_field",
                "bst_sequence_field",
                "num_heads",
                "stacked_transformer_layers",
                "layer_norm",
                "use_residual",
                "seq_pooling_type",
                "use_position_emb",
                "use_causal_mask",
            ),
        }.items()
        for key in keys
    },
    # Its models of how features meet
    **{
        key: ForeignName(
            "interaction",
            f"It is read under model: {model}; elsewhere write it inside of interaction: {{type: "
            f"{model.lower()}}}.",
            computed=True,
        )
        for model, keys in INTERACTION_KEYS.items()
        for key in keys
        if key not in _SAID_ELSEWHERE
    },
    "gate_priors": ForeignName("gate_features", "It is read under model: PPNet."),
    "gate_emb_dim": ForeignName("gate_embedding_dim", "It is read under model: PPNet."),
    "gate_hidden_dim": ForeignName("gate_hidden_units", "It is read under model: PPNet."),
    # Its fork: data
    "infer_data": ForeignName(
        advice="Rows without labels are given to a command: predict --input FILE.", of=FORK, same=(ANY,)
    ),
    "train_size": ForeignName(
        advice="Training has the rows that valid_size and test_size leave; shares that do not add up to 1 "
        "would leave rows out. Use n_rows for fewer rows.",
        of=FORK,
        computed=True,
    ),
    # Its fork: networks with generated weights
    "condition_mode": ForeignName(
        advice="Here " + _SELECTED + " The three of them are the only modes.",
        of=FORK,
        models=_APG,
        same=("self-wise", "group-wise", "mix-wise"),
    ),
    "condition_features": ForeignName("apg.condition_features", of=FORK),
    "condition_mix": ForeignName("apg.condition_mix", of=FORK),
    "condition_participate_bottom": ForeignName("apg.condition_participate_bottom", of=FORK),
    "new_condition_emb": ForeignName("apg.new_condition_emb", of=FORK),
    "generate_bias": ForeignName("apg.generate_bias", of=FORK),
    "rank_k": ForeignName(
        "apg.rank_k", "One rank for all layers; null generates whole matrices: apg.mode basic.", FORK
    ),
    "overparam_p": ForeignName(
        "apg.overparam_p", "One width for all layers; null is apg.mode decomposed.", FORK
    ),
    "hypernet_config": ForeignName(
        "apg.hypernet_hidden_units",
        "The networks that generate weights have relu and no dropout: give hidden_units alone.",
        FORK,
        computed=True,
    ),
    # Its fork: the cascade
    "num_layers": ForeignName(
        advice="APG_AITM_V2 has one level of experts. Write 1, or use PLE.",
        of=FORK,
        models=("APG_AITM_V2",),
        same=(1,),
    ),
    "transfer_type": ForeignName(
        "transfer",
        "Write gated or attention.",
        FORK,
        values={"gated_residual": "gated", "attn": "attention"},
    ),
    "transfer_gate_hidden_units": ForeignName("transfer_hidden_units", of=FORK),
    "transfer_gate_net_type": ForeignName(
        advice="The gate of the transfer is a plain network. Write dnn.",
        of=FORK,
        models=("APG_AITM_V2",),
        same=("dnn",),
    ),
    "use_prev_logit": ForeignName(
        advice="The gate of the transfer always sees the logit of the task before. Write True.",
        of=FORK,
        models=("APG_AITM_V2",),
        same=(True,),
    ),
    "tower_type": ForeignName(
        "generated_towers", "Write True or False.", FORK, values={"apg": True, "dnn": False}
    ),
    # Its fork: several domains
    "expert_num": ForeignName("num_experts", of=FORK),
    "domain_feature": ForeignName("domain", of=FORK),
    "num_domains": ForeignName(
        advice="Domains are counted: the values that the feature domain has in training.",
        of=FORK,
        models=("M3oE",),
        same=(ANY,),
    ),
    **{
        theirs: ForeignName(
            f"fusion_start.{ours}",
            "fusion_start has the number itself, from 0 to 1: the sigmoid of theirs.",
            FORK,
            computed=True,
        )
        for theirs, ours in {
            "exp_d": "domain_weight",
            "exp_t": "task_weight",
            "bal_d": "domain_balance",
            "bal_t": "task_balance",
        }.items()
    },
    "softmax_type": ForeignName(
        advice="The numbers of fusion_start are sigmoids, softmax_type 3. Under 0, 1 and 2 each is a softmax "
        "of one entry, which is 1 whatever is learnt. Write 3.",
        of=FORK,
        models=("M3oE",),
        same=(3,),
    ),
    "tau": ForeignName(
        advice="A sigmoid has no temperature; theirs falls at evaluation, too.",
        of=FORK,
        models=("M3oE",),
        same=(ANY,),
    ),
    "tau_step": ForeignName(
        advice="A sigmoid has no temperature; theirs falls at evaluation, too.",
        of=FORK,
        models=("M3oE",),
        same=(ANY,),
    ),
    # Blocks of a file that has all of an experiment in it
    **{
        block: ForeignName(
            advice="A file with such blocks: python -m fuxi_mtl convert --config FILE --output FOLDER.",
            of=NESTED,
        )
        for block in ("data", "embedding", "optim", "runtime", "use_esmm", "enabled_heads", "mtl")
    },
}

# In the entries of feature_cols.
FEATURE_NAMES: dict[str, ForeignName] = {
    "encoder": ForeignName("feature_encoder", of=FORK),
    "na_value": ForeignName("fill_na"),
}

# Values of our own keys: how others spell them.
FOREIGN_VALUES: dict[str, dict[str, str]] = {
    "model": {
        "APG_AITMV2": "APG_AITM_V2",
        "APG_MMoE": "APG_MMOE",
        "APG_ShareBottom": "APG_SharedBottom",
        "BST": "SingleTask",
        "DCNv2": "SingleTask",
        "DIN": "SingleTask",
        "ESSM": "ESMM",
        "FinalMLP": "SingleTask",
        "MaskNet": "SingleTask",
        "PPNet": "PEPNet",
        "SharedBottom": "ShareBottom",
    },
}


# Of these, FuxiCTR's own models; the others are the fork's.
FUXICTR_MODELS = ("BST", "DCNv2", "DIN", "FinalMLP", "MaskNet", "PPNet")

# What else a model of the fork does otherwise, said where a stanza is in its words.
MODEL_NOTES: dict[str, str] = {
    "APG_AITM": "labels are steps of a chain here, each joined with those before it; no plain layer ends the "
    "bottoms.",
    "APG_SharedBottom": "no plain layer ends the bottom here.",
    "M3oE": "the four numbers of fusion_start learn on validation batches here, or on bilevel_share of the "
    "rows.",
}


def foreign_name_of(ours: str) -> str:
    """What FuxiCTR or its fork calls a key of ours.

    Empty where it is called the same, they lack it, or have several keys in its place.
    """
    names = {**FOREIGN_NAMES, **FEATURE_NAMES}
    found = [name for name, each in names.items() if each.ours == ours and each.of in (FUXICTR, FORK)]
    return found[0] if len(found) == 1 else ""


def _among(value: Any, known: Any) -> bool:
    """Whether a value is one of some; true is not 1."""
    return any(type(value) is type(each) and value == each for each in known)
