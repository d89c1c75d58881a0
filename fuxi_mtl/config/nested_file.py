"""A file with all of a DeepFM-MMoE experiment in blocks (``model``, ``optim``, ``runtime``), as stanzas."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuxi_mtl.config.foreign_names import ForeignName
from fuxi_mtl.config.nested_names import DEEP_KEYS, NESTED_NAMES
from fuxi_mtl.config.stanza_text import StanzaText
from fuxi_mtl.options.source_location import Located
from fuxi_mtl.options.values import plain, show

_ENTIRE_SPACE = {"ctr": "click", "cvr": "conversion | click", "ctcvr": "click & conversion"}


@dataclass
class Nested:
    """The stanzas of a file.

    Attributes:
        experiment: That of model_config.
        datasets: That of dataset_config, without its columns; empty where another dataset was named.
        renamed: Keys of the file that have one here.
        left_out: Keys that have none.
    """

    experiment: StanzaText
    datasets: list[StanzaText]
    renamed: int = 0
    left_out: int = 0


def is_nested(content: Mapping[str, Located]) -> bool:
    """Whether a file has the blocks of one experiment, and not stanzas."""
    return {"model", "optim", "runtime"} <= set(content)


def nested_stanzas(content: Mapping[str, Located], path: Path, dataset_id: str | None = None) -> Nested:
    """The experiment of a file, parameter for parameter.

    Args:
        content: The file.
        path: Its name, for the dataset's where the file says none.
        dataset_id: Another dataset's id.

    Raises:
        ConfigError: A block is no mapping, the heads are no list, or the epochs no number.
    """
    work = _File(_checked(content), path, dataset_id)
    work.head()
    for where, entry in work.leaves():
        work.take(where, entry)
    work.optimizers()
    work.network()
    work.runtime()
    return Nested(work.stanza, work.datasets(), work.renamed, work.left_out)


_MAPPINGS = ("static_pos_weight", "pos_weight_clip", "aux_focal", "pos_weight_clip_schedule")


def _checked(content: Mapping[str, Located]) -> dict[str, Located]:
    """The file without blocks that are null, after a look at the form of what is computed with."""
    blocks = {row.rpartition(".")[0] for row in NESTED_NAMES if "." in row}
    blocks |= {"model.heads", "optim.lr_scheduler", "embedding.embedding_dim_overrides"}
    blocks |= {f"loss.{key}" for key in _MAPPINGS}
    lists = {"model.enabled_heads", "model.tasks"}

    def checked(prefix: str, mapping: Mapping[str, Located]) -> dict[str, Located]:
        kept = {}
        for name, entry in mapping.items():
            where, value = f"{prefix}{name}", entry.value
            if value is None and where in blocks | lists:
                continue
            for form, paths, words in ((dict, blocks, "a mapping"), (list, lists, "a list")):
                if where in paths and not isinstance(value, form):
                    raise entry.error(f"{where} expects {words}, not {show(value)}.")
            if where == "runtime.epochs" and (isinstance(value, bool) or not isinstance(value, int)):
                raise entry.error(f"{where} expects a whole number, not {show(value)}.")
            is_block = where in blocks and isinstance(value, dict)
            kept[name] = Located(checked(f"{where}.", value), entry.location) if is_block else entry
        return kept

    return checked("", content)


@dataclass
class _File:
    """A file while its stanza is written."""

    content: Mapping[str, Located]
    path: Path
    dataset_id: str | None
    stanza: StanzaText = field(default_factory=lambda: StanzaText("experiment"))
    renamed: int = 0
    left_out: int = 0

    def given(self, where: str, default: Any = None) -> Any:
        """The plain value at a path such as ``optim.dense.lr``."""
        found: Any = self.content
        for name in where.split("."):
            found = found.value if isinstance(found, Located) else found
            if not isinstance(found, Mapping) or name not in found:
                return default
            found = found[name]
        return plain(found)

    @property
    def entire_space(self) -> bool:
        """Whether it is an entire-space model."""
        return self.given("use_esmm") is True

    def put(self, ours: str, value: Any, *comments: str) -> None:
        """Gives a key of ours a value, and says above it where it comes from."""
        block, _, name = ours.partition(".")
        if name:
            self.stanza.values.setdefault(block, {})[name] = value
        else:
            self.stanza.values[block] = value
        for comment in comments:
            self.stanza.comment(block, comment)

    def leave_out(self, where: str, value: Any, why: str) -> None:
        """Says at the end of the stanza that a key has nothing here."""
        self.left_out += 1
        self.stanza.comment("", f"{where}: {show(value)}  {why}".rstrip())

    def head(self) -> None:
        """The model, its data and tasks."""
        self.stanza.name = str(self.given("experiment.name") or self.path.stem)
        self.put("model", "DeepFM_MMoE", "model.mtl, model.backbone")
        self.put("dataset_id", self.dataset_id or self.stanza.name)
        heads = self.given("model.enabled_heads") or self.given("model.tasks") or ["ctr", "cvr"]
        if self.entire_space:
            self.put("tasks", dict(_ENTIRE_SPACE), "use_esmm, model.enabled_heads, model.tasks")
        else:
            tasks = {name: _ENTIRE_SPACE.get(name, name) for name in heads}
            self.put("tasks", tasks, "use_esmm, model.enabled_heads, model.tasks")
        self.put("metrics", ["AUC", "logloss"])
        self.put("monitor", "auc_primary", "Their auc_primary, with the same coefficients.")
        self.put("optimizer", "adamw", "optim.type: kernels alone decay, no bias and no gain of a norm.")
        rows = "adam" if self.given("optim.sparse.enabled", True) else "dense_equivalent_adam"
        self.put("embedding_optimizer", rows, "optim.sparse.enabled")

    def leaves(self) -> Iterator[tuple[str, Located]]:
        """Every path that the table has a row for, and every value that it has none for."""

        def walk(prefix: str, mapping: Mapping[str, Located]) -> Iterator[tuple[str, Located]]:
            for name, entry in mapping.items():
                where = f"{prefix}{name}"
                inner = any(row.startswith(f"{where}.") for row in NESTED_NAMES)
                if where not in NESTED_NAMES and isinstance(entry.value, dict) and inner:
                    yield from walk(f"{where}.", entry.value)
                else:
                    yield where, entry

        yield from walk("", self.content)

    def take(self, where: str, entry: Located) -> None:
        """What the row of the table says; what is computed from several keys comes later."""
        name, value = NESTED_NAMES.get(where), plain(entry)
        if name is None:
            self.leave_out(where, value, "Nothing here is called so.")
            return
        useless = self._useless(where)
        if useless:
            self.leave_out(where, value, useless)
        elif name.computed:
            self.renamed += 1
        elif not name.ours:
            kept = name.fits(value)
            self.leave_out(where, value, name.advice if kept else f"Not the same here: {name.advice}")
        elif name.values and not name.fits(value):
            self.leave_out(where, value, f"Not the same here: {name.advice}")
        else:
            self._take_as_it_is(where, name, value)

    def _take_as_it_is(self, where: str, name: ForeignName, value: Any) -> None:
        self.renamed += 1
        value = self._without_left_out(where, value)
        value = name.values[value] if name.values else value
        self.put(name.ours, value, where if name.values or not name.advice else f"{where}: {name.advice}")

    def _without_left_out(self, where: str, value: Any) -> Any:
        """A block without the keys in it that have nothing here, which are named at the end."""
        if not isinstance(value, dict):
            return value
        kept = {}
        for key, each in value.items():
            row = NESTED_NAMES.get(f"{where}.{key}")
            if row is None:
                kept[key] = self._without_left_out(f"{where}.{key}", each)
            elif not row.computed:
                advice = row.advice if row.fits(each) else f"Not the same here: {row.advice}"
                self.leave_out(f"{where}.{key}", each, advice)
        return kept

    def _useless(self, where: str) -> str:
        """Why a key has no effect beside the others of its file."""
        if where.startswith("loss.w_") and self.entire_space:
            return "Without effect under use_esmm, where lambda_ctr, lambda_ctcvr and lambda_cvr_aux weigh."
        of_joint = where in ("loss.aux_focal", "loss.pos_weight_clip_schedule")
        joint = self.given(f"{where}.target_head", self.given(f"{where}.target", "ctcvr")) == "ctcvr"
        if not self.entire_space and (where.startswith("esmm.lambda") or (of_joint and joint)):
            return "Without effect where use_esmm is false: there is no task ctcvr."
        if where == "data.neg_keep_prob_train" and self.given("sampling.negative_sampling", "none") == "none":
            return "Without effect under sampling.negative_sampling none."
        if where == "data.seed" and self.given("runtime.seed") is not None:
            return "runtime.seed counts."
        return ""

    def optimizers(self) -> None:
        """What several keys say of the steps together."""
        if not self.given("optim.sparse.enabled", True):  # the tables move with all else
            for key in ("learning_rate", "betas", "epsilon"):
                self.stanza.values.pop(f"embedding_{key}", None)
        if not self.given("optim.lr_scheduler.enabled", False):
            self.put("reduce_lr_on_plateau", False, "The learning rate stays where it is, as there.")
        if "max_gradient_norm" in self.stanza.values:
            self.put("clip_scope", "dense", "runtime.grad_clip_norm clips what is dense.")
        else:
            self.put("max_gradient_norm", 0, "Nothing is clipped, as there.")

    def network(self) -> None:
        """What several keys say of the network together."""
        backbone = self.stanza.values.setdefault("backbone", {})
        for key in DEEP_KEYS:
            where = f"model.{key}"
            outer = self.given(where)
            if outer is not None and key not in backbone:
                backbone[key] = outer
                self.stanza.comment("backbone", where)
                self.renamed += 1
            elif outer is not None:
                self.leave_out(where, outer, f"model.backbone.{key} counts.")
        if backbone.get("use_legacy_pseudo_deepfm") and "per_head_add" in backbone:
            why = "Without effect under use_legacy_pseudo_deepfm, which adds the wide logit to every head."
            self.leave_out("model.backbone.per_head_add", backbone.pop("per_head_add"), why)
        mixture = self.stanza.values.setdefault("mmoe", {})
        if self.given("model.mmoe.gate_type", "linear") == "linear" and mixture.get("gate_hidden_dims"):
            mixture["gate_hidden_dims"] = []
            self.stanza.comment("mmoe", "model.mmoe.gate_type linear: gates have no hidden layer.")
        if "adapter_dropout" not in mixture:
            mixture["adapter_dropout"] = self.given("model.heads.default.dropout", 0.0)
            self.stanza.comment(
                "mmoe", "adapter_dropout: model.heads.default.dropout, as the adapter has it."
            )
        self.put("bias_prior", "auto", "Biases start at the rates of the training labels.")
        self.put("embedding_regularizer", 0, "There is no penalty there.")
        widths = self.given("embedding.embedding_dim_overrides") or {}
        if widths:
            specs = [{"name": name, "embedding_dim": width} for name, width in widths.items()]
            self.put("feature_specs", specs, "embedding.embedding_dim_overrides")

    def runtime(self) -> None:
        """What several keys say of the run together."""
        if not self.entire_space and len(self.stanza.values["tasks"]) > 1:
            weights = {name: self.given(f"loss.w_{name}", 1.0) for name in self.stanza.values["tasks"]}
            self.put("loss_weight", weights, "loss.w_ctr, loss.w_cvr")
        for key in ("static_pos_weight", "pos_weight_clip"):
            given = self.stanza.values.get(key) or {}
            for task in [task for task in given if task not in self.stanza.values["tasks"]]:
                self.leave_out(f"loss.{key}.{task}", given.pop(task), "There is no such task.")
            if key in self.stanza.values and not given:
                del self.stanza.values[key]
        if self.given("loss.pos_weight_dynamic") and "static_pos_weight" in self.stanza.values:
            value = self.stanza.values.pop("static_pos_weight")
            self.leave_out("loss.static_pos_weight", value, "loss.pos_weight_dynamic counts.")
        if self.given("runtime.max_valid_steps") is not None:
            self.put("eval_batch_size", self.given("data.batch_size", 1024), "runtime.max_valid_steps")
        if self.given("runtime.grad_diag_enabled") and self.given("runtime.grad_diag_every") is None:
            self.put("grad_diag_every", self.given("runtime.log_every"), "runtime.log_every")
        epochs = self.given("runtime.epochs", 1)
        if epochs > 2:
            self.put("early_stop_patience", epochs, "All epochs are trained, as there.")

    def datasets(self) -> list[StanzaText]:
        """The dataset as far as the file knows it; nothing where another one was named."""
        if self.dataset_id:
            return []
        stanza = StanzaText(self.stanza.name)
        where = self.given("data.metadata_path")
        stanza.comment(
            "train_data", f"Files, columns and vocabularies are not in the file ({where}): fill in."
        )
        labels = [{"name": "click", "dtype": "float"}, {"name": "conversion", "dtype": "float"}]
        stanza.values |= {"train_data": "", "valid_data": "", "feature_cols": [], "label_col": labels}
        if self.given("embedding.mode") is not None:
            stanza.comment("feature_cols", NESTED_NAMES["embedding.mode"].advice)
        return [stanza]
