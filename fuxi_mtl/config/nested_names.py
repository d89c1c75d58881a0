"""Names in a file with all of a DeepFM-MMoE experiment, by their paths, and what they are called here."""

from fuxi_mtl.config.foreign_names import ANY, ForeignName

_WORKERS = "Batches are cut from memory-mapped arrays: there are no workers."
# Of `model` in a DeepFM-MMoE file; they count where `model.backbone` does not say.
DEEP_KEYS = (
    "deep_hidden_dims",
    "deep_dropout",
    "deep_activation",
    "deep_use_bn",
    "fm_enabled",
    "fm_projection_dim",
    "out_dim",
)

NESTED_NAMES: dict[str, ForeignName] = {
    "experiment.name": ForeignName(advice="It is the expid.", computed=True),
    "use_esmm": ForeignName("tasks", "With a task ctcvr it is an entire-space model.", computed=True),
    "esmm.version": ForeignName(advice="pCTCVR is always pCTR pCVR, their v2.", same=("v2",)),
    "esmm.eps": ForeignName(advice="Losses are computed on logits: nothing is cut off.", same=(ANY,)),
    "esmm.lambda_ctr": ForeignName("lambda_ctr"),
    "esmm.lambda_ctcvr": ForeignName("lambda_ctcvr"),
    "esmm.lambda_cvr_aux": ForeignName("lambda_cvr_aux", "The mean over clicked rows."),
    "data.metadata_path": ForeignName(
        advice="Columns stand in feature_cols, and vocabularies are counted.", same=(ANY,)
    ),
    "data.batch_size": ForeignName("batch_size"),
    "data.num_workers": ForeignName("num_workers", "Threads that encode the data, once."),
    "data.num_workers_valid": ForeignName(advice=_WORKERS, same=(ANY,)),
    "data.prefetch_factor": ForeignName(advice=_WORKERS, same=(ANY,)),
    "data.pin_memory": ForeignName(advice=_WORKERS, same=(ANY,)),
    "data.persistent_workers": ForeignName(advice=_WORKERS, same=(ANY,)),
    "data.drop_last": ForeignName("drop_last"),
    "data.debug": ForeignName("debug_mode"),
    "data.seed": ForeignName("seed"),
    "data.neg_keep_prob_train": ForeignName("neg_keep_prob_train"),
    "sampling.negative_sampling": ForeignName(
        "negative_sampling",
        values={"none": "none", "random": "plain", "plain": "plain", "reweighted": "reweighted"},
        advice="Without weights in their stead: calibration closed_form undoes it.",
    ),
    "embedding.default_embedding_dim": ForeignName("embedding_dim"),
    "embedding.embedding_dim_overrides": ForeignName("feature_specs", computed=True),
    "embedding.mode": ForeignName(
        advice="A bag is the mean of its true members, as in their code under either word; pooling: sum in "
        "feature_cols adds them up.",
        same=("mean", "sum"),
    ),
    "embedding.sparse_grad": ForeignName(advice="Gradients of tables are always by row.", same=(ANY,)),
    "model.name": ForeignName(advice="A label of theirs.", same=(ANY,)),
    "model.mtl": ForeignName("model", "DeepFM_MMoE has experts and gates.", same=("mmoe",), computed=True),
    "model.enabled_heads": ForeignName("tasks", computed=True),
    "model.tasks": ForeignName("tasks", computed=True),
    "model.backbone": ForeignName("backbone"),
    "model.backbone.return_logit_parts": ForeignName(
        advice="The model's logit_parts always gives them.", same=(ANY,)
    ),
    "model.mmoe": ForeignName("mmoe"),
    "model.mmoe.gate_type": ForeignName(advice="gate_hidden_dims says it: [] is linear.", same=(ANY,)),
    "model.mmoe.input": ForeignName(advice="The first part is always deep_h.", same=("deep_h",)),
    "model.mmoe.log_gates": ForeignName(advice="log_health_metrics measures gates.", same=(ANY,)),
    "model.mmoe.gate_stabilize.log_stats": ForeignName(
        advice="log_health_metrics measures gates.", same=(ANY,)
    ),
    "model.heads": ForeignName("heads"),
    **{
        f"model.{key}": ForeignName(f"backbone.{key}", "Where model.backbone does not say.", computed=True)
        for key in DEEP_KEYS
    },
    "optim.type": ForeignName("optimizer", computed=True),
    "optim.dense.lr": ForeignName("learning_rate"),
    "optim.dense.weight_decay": ForeignName("weight_decay"),
    "optim.dense.betas": ForeignName("betas"),
    "optim.dense.eps": ForeignName("epsilon"),
    "optim.sparse.enabled": ForeignName("embedding_optimizer", computed=True),
    "optim.sparse.lr": ForeignName("embedding_learning_rate"),
    "optim.sparse.betas": ForeignName("embedding_betas"),
    "optim.sparse.eps": ForeignName("embedding_epsilon"),
    "optim.sparse.allow_fallback_if_empty": ForeignName(
        advice="Without a table there is nothing for its optimizer to do, and no error.", same=(ANY,)
    ),
    "optim.lr_scheduler": ForeignName("lr_scheduler"),
    "loss.w_ctr": ForeignName("loss_weight", "Write loss_weight: {ctr: ..., cvr: ...}.", computed=True),
    "loss.w_cvr": ForeignName("loss_weight", "Write loss_weight: {ctr: ..., cvr: ...}.", computed=True),
    "loss.eps": ForeignName(advice="Losses are computed on logits: nothing is cut off.", same=(ANY,)),
    "loss.pos_weight_dynamic": ForeignName("pos_weight_dynamic"),
    "loss.static_pos_weight": ForeignName("static_pos_weight"),
    "loss.pos_weight_clip": ForeignName("pos_weight_clip"),
    "loss.pos_weight_clip_schedule": ForeignName("pos_weight_clip_schedule"),
    "loss.aux_focal": ForeignName("aux_focal"),
    "runtime.device": ForeignName(advice="Write --gpu 0 on the command line.", same=(ANY,)),
    "runtime.epochs": ForeignName("epochs"),
    "runtime.log_every": ForeignName("log_every"),
    "runtime.amp": ForeignName(
        "precision",
        "bfloat16 or float16 where the device is faster with it.",
        values={True: "auto", False: "float32"},
    ),
    "runtime.grad_diag_enabled": ForeignName("grad_diag_enabled"),
    "runtime.grad_diag_every": ForeignName("grad_diag_every"),
    "runtime.grad_diag_min_tasks": ForeignName("grad_diag_min_tasks"),
    "runtime.log_health_metrics": ForeignName("log_health_metrics"),
    "runtime.max_train_steps": ForeignName("max_train_steps"),
    "runtime.max_valid_steps": ForeignName("max_valid_steps"),
    "runtime.grad_clip_norm": ForeignName("max_gradient_norm"),
    "runtime.seed": ForeignName("seed"),
    "runtime.resume_path": ForeignName(
        advice="Here resume_path names a run of this library, whose training goes on.",
        same=(None,),
    ),
    "runtime.auto_eval": ForeignName(advice="A run always ends with its metrics.", same=(True,)),
    "runtime.auto_eval_split": ForeignName(
        advice="Validation and test rows are measured, both of them.", same=("valid", "test")
    ),
    "runtime.auto_eval_save_preds": ForeignName("save_predictions"),
    "runtime.auto_eval_ckpt": ForeignName("final_weights", values={"best": "best", "last": "last"}),
    "runtime.save_last": ForeignName("save_best_only", values={True: False, False: True}),
}
