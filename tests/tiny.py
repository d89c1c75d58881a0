"""A few made-up exposures with every kind of input, for tests that need a network.

    user     string ids                          max_len 1
    item     integer ids, an embedding of its own width
    history  max-pooled sequence of items (their embedding), true lengths 0 to 3
    tags     weighted bag
    price    a number
    vector   a dense vector

Labels: click, cart and buy (each needs a click; some are missing) and watch, a number.
"""

import contextlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from fuxi_mtl import registry
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.tasks import Task, parse_task

FEATURES = FeatureMap(
    "tiny",
    assign_columns(
        [
            Feature("user", "categorical", vocab_size=12),
            Feature("item", "categorical", vocab_size=9, embedding_dim=3),
            Feature("history", "sequence", vocab_size=9, max_len=3, share_embedding="item", pooling="max"),
            Feature("tags", "sequence", vocab_size=7, max_len=4, weighted=True),
            Feature("price", "numeric"),
            Feature("vector", "embedding", max_len=2),
        ]
    ),
    ("click", "cart", "buy", "watch"),
)

# What a stanza may ask for: plain labels (two, three, a regression among them) or tasks by name.
PLAIN = {
    "two": (Task("click", ("click",)), Task("buy", ("buy",))),
    "three": (Task("click", ("click",)), Task("cart", ("cart",)), Task("buy", ("buy",))),
    "regression": (Task("click", ("click",)), Task("watch", ("watch",), kind="regression")),
}
NAMED = {
    "chain": {"ctr": "click", "cvr": "buy | click", "ctcvr": "click & buy"},
    "funnel": {"ctr": "click", "ctavr": "click & cart", "cvr": "buy | click", "ctcvr": "click & buy"},
    "steps": {"ctr": "click", "ctcvr": "click & buy"},
}


def tasks_of(expressions: dict[str, str]) -> tuple[Task, ...]:
    """Tasks as ``tasks:`` in a stanza writes them."""
    return tuple(parse_task(name, expression) for name, expression in expressions.items())


def plans(cls: type) -> dict[str, tuple[Task, ...]]:
    """The sets of tasks that a model can serve, planned by it."""
    candidates = [(name, tasks, False) for name, tasks in PLAIN.items()]
    candidates += [(name, tasks_of(expressions), True) for name, expressions in NAMED.items()]
    served: dict[str, tuple[Task, ...]] = {}
    for name, tasks, explicit in candidates:
        if len(served) == len(PLAIN):
            break  # a model of any tasks has had two, three and a number by now
        try:
            planned = cls.plan_tasks(tasks, explicit)
        except ValueError:
            continue
        if planned not in served.values():
            served[name] = planned
    return served


def named_plan(cls: type) -> tuple[Task, ...]:
    """The shortest of the named sets that a model can serve, planned by it."""
    for expressions in NAMED.values():
        with contextlib.suppress(ValueError):
            return cls.plan_tasks(tasks_of(expressions), True)
    raise AssertionError(f"{cls.__name__} serves none of {list(NAMED)}")


def options_of(cls: type, **changes) -> dict:
    """Small sizes for the options of a model; whatever else it takes stays at its default."""
    small = {"embedding_dim": 4, "num_experts": 3, "num_shared_experts": 2, "num_specific_experts": 1}
    small["mmoe"] = {"num_experts": 3, "expert_mlp_dims": [6], "part_proj_dim": 6, "adapter_mlp_dims": [6]}
    small |= {"backbone": {"deep_hidden_dims": [6]}, "heads": {"default": {"mlp_dims": [6]}}}
    small["apg"] = {"condition_features": ["user"], "mode": "decomposed", "rank_k": 5}
    small["apg"] |= {"hypernet_hidden_units": [6]}
    small |= {"domain": "item", "domain_features": ["item"], "gate_features": ["user"]}
    # tanh never dies: a unit without a gradient is then the model's fault.
    small |= {"hidden_activations": "tanh"}
    options = {}
    for name, parameter in registry.options(cls.__name__).items():
        if name in changes:
            options[name] = changes[name]
        elif name in small:
            options[name] = small[name]
        elif name.endswith("_hidden_units") and parameter.default:
            options[name] = (6,)
        elif name == "bottom" and parameter.default == "MMoE":
            options[name] = {"type": "MMoE", "num_experts": 2, "expert_hidden_units": (6,)}
        elif name == "bottom" and parameter.default == "ShareBottom":
            options[name] = {"type": "ShareBottom", "bottom_hidden_units": (8,)}
    return options


def inputs(rows: int = 32, seed: int = 0) -> dict[str, np.ndarray]:
    """Encoded inputs, as an encoder would give them."""
    random = np.random.default_rng(seed)
    user, item = random.integers(1, 12, (rows, 1)), random.integers(1, 9, (rows, 1))
    history = random.integers(1, 9, (rows, 3)) * (np.arange(3) < random.integers(0, 4, (rows, 1)))
    tags = random.integers(1, 7, (rows, 4)) * (np.arange(4) < random.integers(0, 5, (rows, 1)))
    weights = random.uniform(0.5, 2.0, (rows, 4)) * (tags > 0)
    numbers = random.normal(size=(rows, 3))
    return {
        "ids": np.concatenate([user, item, history, tags], axis=1).astype(np.int32),
        "numeric": np.concatenate([numbers, weights], axis=1).astype(np.float32),
    }


def events(rows: int = 32, seed: int = 0) -> dict[str, np.ndarray]:
    """Label columns; NaN is missing."""
    random = np.random.default_rng(seed + 1)
    click = (random.random(rows) < 0.6).astype(np.float32)
    cart = click * (random.random(rows) < 0.5)
    buy = click * (random.random(rows) < 0.4)
    watch = random.normal(size=rows).astype(np.float32)
    columns = {"click": click, "cart": cart, "buy": buy, "watch": watch}
    for position, name in enumerate(("buy", "watch")):
        columns[name][position::7] = np.nan
    return {name: column.astype(np.float32) for name, column in columns.items()}


def batch(tasks: Sequence[Task], rows: int = 32, seed: int = 0) -> tuple:
    """``(inputs, labels, sample_weight)`` as tensors, all weights one."""
    columns = events(rows, seed)
    labels = {task.name: tf.constant(task.label(columns)) for task in tasks}
    return tensors(inputs(rows, seed)), labels, tf.ones(rows)


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """The same as tensors."""
    return {name: tf.constant(array) for name, array in arrays.items()}
