"""What is near to a name, and what is not."""

import pytest

from fuxi_mtl.hints import among, did_you_mean, nearest, printable


@pytest.mark.parametrize(
    ("written", "known", "meant"),
    [
        ("batchsize", ["batch_size", "eval_batch_size"], "batch_size"),
        ("train_date", ["train_data", "test_data"], "train_data"),
        ("wieghts", ["weights", "method"], "weights"),
        ("earning_rate", ["learning_rate"], "learning_rate"),
        ("mmoe", ["MMoE", "MoE"], "MMoE"),
        ("toi", ["toy", "kuairand"], "toy"),
        ("warmup", ["warmup_steps", "total_steps"], "warmup_steps"),
        ("expert_num", ["num_experts", "num_shared_experts", "export"], "num_experts"),
        ("stopped", ["stop", "flow"], "stop"),
    ],
)
def test_a_misspelling_a_reordering_and_an_abbreviation_are_near(written, known, meant):
    assert nearest(written, known) == meant


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("condition_mode", ["monitor_mode"]),
        ("expert_num", ["export"]),
        ("bottom_hidden_units", ["expert_hidden_units", "gate_hidden_units"]),
        ("train_size", ["test_size", "valid_size"]),
        ("hidden_units", ["expert_hidden_units", "tower_hidden_units"]),
        ("psm", ["pip", "ieb"]),
        ("", ["a"]),
        ("_", ["a"]),
        ("anything", []),
    ],
)
def test_no_guess_is_made_when_the_nearest_name_is_far_or_two_are_as_near(written, known):
    assert nearest(written, known) is None
    assert did_you_mean(written, known) == ""


def test_a_hint_is_a_question_and_may_be_followed_by_all_names():
    assert did_you_mean(7, [7, 8]) == " Did you mean '7'?"
    assert among("auc", ["AUC", "gAUC"]) == " Did you mean 'AUC'? Known: AUC, gAUC."
    assert among("lift", ["AUC", "gAUC"]) == " Known: AUC, gAUC."


def test_names_cannot_steer_a_terminal():
    assert printable("a\x1b[2J\x07b\x9b\u202ec\n\td") == "a\\x1b[2J\\x07b\\x9b\\u202ec\n\td"
    assert printable("\x1b[1;31mred\x1b[0m \x1b[2J", colours=True) == "\x1b[1;31mred\x1b[0m \\x1b[2J"
    assert printable("\x1b[1;31mred") == "\\x1b[1;31mred"
