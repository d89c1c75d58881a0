"""The files: safe YAML with lines, duplicates, folders of files, and which Base applies."""

import json
import re

import pytest

from fuxi_mtl.config import ConfigError, available, load_experiment
from fuxi_mtl.config.yaml_reading import read_mapping, read_value

STANZA = "{name}:\n  model: MMoE\n  dataset_id: tiny\n"


def says(message: str) -> str:
    return f"^{re.escape(message)}$"


def test_a_key_twice_in_a_stanza_names_both_lines(write):
    message = "config/model_config.yaml, line 7 (MMoE_test): 'seed' appears twice; the first is on line 6."
    with pytest.raises(ConfigError, match=says(message)):
        load_experiment(write("seed: 1\nseed: 2"), "MMoE_test")


def test_a_key_twice_in_a_block_names_both_lines(write):
    folder = write("monitor:\n  AUC: 1\n  AUC: 2")
    message = "config/model_config.yaml, line 8 (MMoE_test): 'AUC' appears twice; the first is on line 7."
    with pytest.raises(ConfigError, match=says(message)):
        load_experiment(folder, "MMoE_test")


def test_an_expid_twice_in_a_file_names_both_lines(write):
    folder = write(model_config=2 * STANZA.format(name="A"))
    message = "config/model_config.yaml, line 4: 'A' appears twice; the first is on line 1."
    with pytest.raises(ConfigError, match=says(message)):
        load_experiment(folder, "A")


@pytest.mark.parametrize("what", ["model_config", "dataset_config"])
def test_a_name_twice_over_files_names_both_files(write, what):
    folder = write()
    (folder / what).mkdir()
    name = {"model_config": "MMoE_test", "dataset_config": "tiny"}[what]
    (folder / what / "more.yaml").write_text(f"{name}:\n  seed: 1\n")
    kind = {"model_config": "expid", "dataset_config": "dataset id"}[what]
    first = {"model_config": 3, "dataset_config": 1}[what]
    message = (
        f"config/{what}/more.yaml, line 1 ({name}): the {kind} {name!r} appears twice; "
        f"the first is in config/{what}.yaml, line {first} ({name})."
    )
    with pytest.raises(ConfigError, match=says(message)):
        available(folder)


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere: no such folder\. --config names the folder"):
        available(tmp_path / "nowhere")


@pytest.mark.parametrize("missing", ["model_config", "dataset_config"])
def test_a_folder_without_one_of_the_files_is_an_error(write, missing):
    folder = write()
    (folder / f"{missing}.yaml").unlink()
    message = f"config: there is neither {missing}.yaml nor a folder {missing} with *.yaml files."
    with pytest.raises(ConfigError, match=says(message)):
        available(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A: [1, 2\nB: 3\n", ", line 2: not YAML: expected ',' or ']', but got ':'."),
        ("A:\n\tmodel: MMoE\n", ", line 2: not YAML: found character '\\t' that cannot start any token."),
        ("A: *nobody\n", ", line 1: not YAML: found undefined alias 'nobody'."),
        ("A: {}\n---\nB: {}\n", ", line 2: not YAML: but found another document."),
        ("A: \x00\n", ": not YAML: unacceptable character #x0000: special characters are not allowed in "
         '"<unicode string>", position 3.'),
        ("- A\n- B\n", ", line 1: expected keys with values, not list."),
        ("A: 3\n", ", line 1 (A): 'A' is no stanza: write its keys indented below it."),
        ("A:\n", ", line 1 (A): 'A' is no stanza: write its keys indented below it."),
        ("A: {? [1, 2] : 3}\n", ", line 1 (A): a key must be a name."),
        ("A: {seed: !!int many}\n", ", line 1 (A): 'many' is not what its tag tag:yaml.org,2002:int says."),
        ("A: {seed: !!set {1}}\n",
         ", line 1 (A): the tag tag:yaml.org,2002:set is not allowed: only plain data is read."),
        ("A: !!python/object/apply:os.system [ls]\n",
         ", line 1 (A): the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed: "
         "only plain data is read."),
        ("A: {<<: 3}\n", ", line 1 (A): '<<' merges mappings: write '<<: *name' for an anchor '&name'."),
        ("A: &a\n  b: *a\n", ", line 1 (A): an alias inside the value that it names."),
    ],
)  # fmt: skip
def test_a_file_that_is_no_plain_yaml_is_an_error(write, text, message):
    folder = write(model_config=text)
    with pytest.raises(ConfigError, match=says(f"config/model_config.yaml{message}")):
        available(folder)


def test_a_file_in_another_encoding_is_an_error(write):
    folder = write()
    (folder / "model_config.yaml").write_bytes("é: {}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"model_config\.yaml: not UTF-8 text .* Save the file as UTF-8\.$"):
        available(folder)


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read: No such file or directory\.$"):
        read_mapping(tmp_path / "config.yaml")


def test_an_empty_file_holds_no_stanza(write):
    assert available(write(model_config="# nothing yet\n")).expids == ()


def test_a_byte_order_mark_is_no_part_of_the_first_expid(write):
    folder = write(model_config="\ufeff" + STANZA.format(name="A"))
    assert available(folder).expids == ("A",)


def test_available_gives_the_names_in_the_order_of_the_files(write):
    folder = write(model_config="Base: {}\n" + STANZA.format(name="Z") + STANZA.format(name="A"))
    assert available(folder) == (("Z", "A"), ("tiny",))


def test_anchors_aliases_and_merges_work(write):
    text = "A: &common\n  model: MMoE\n  dataset_id: tiny\n  seed: 1\nB:\n  <<: *common\n  seed: 2\n"
    folder = write(model_config=text)
    assert load_experiment(folder, "A").training.seed == 1
    assert load_experiment(folder, "B").training.seed == 2


def test_the_first_of_several_merged_blocks_wins():
    merged = read_value("{<<: [&a {x: 1}, {x: 2, y: 2}], z: 3}", "--set").value
    assert {key: entry.value for key, entry in merged.items()} == {"x": 1, "y": 2, "z": 3}


def test_dates_and_signs_stay_text():
    assert read_value("2026-01-02", "--set").value == "2026-01-02"
    assert read_value("=", "--set").value == "="


class TestBase:
    """Which Base applies where there are several files."""

    def folder(self, write, **files):
        folder = write()
        (folder / "model_config.yaml").unlink()
        (folder / "model_config").mkdir()
        for name, text in files.items():
            (folder / "model_config" / f"{name}.yaml").write_text(text)
        return folder

    def test_a_stanza_inherits_from_the_base_of_its_own_file(self, write):
        files = {name: f"Base: {{seed: {i}}}\n{STANZA.format(name=name)}" for i, name in enumerate("AB")}
        folder = self.folder(write, **files)
        assert [load_experiment(folder, name).training.seed for name in "AB"] == [0, 1]

    def test_a_stanza_inherits_from_the_only_base_there_is(self, write):
        folder = self.folder(write, A="Base: {seed: 7}\n", B=STANZA.format(name="B"))
        assert load_experiment(folder, "B").training.seed == 7

    def test_a_stanza_may_do_without_any_base(self, write):
        folder = self.folder(write, B=STANZA.format(name="B"))
        assert load_experiment(folder, "B").training.seed == 2026

    def test_two_bases_elsewhere_are_an_error(self, write):
        folder = self.folder(write, A="Base: {seed: 7}\n", B=STANZA.format(name="B"), C="Base: {seed: 8}\n")
        message = (
            "config/model_config/B.yaml, line 1 (B): which Base applies? This file has none, "
            "and there are 2: config/model_config/A.yaml, config/model_config/C.yaml. "
            "Put a Base into this file."
        )
        with pytest.raises(ConfigError, match=says(message)):
            load_experiment(folder, "B")

    def test_a_stanza_of_a_folder_is_pointed_at_in_its_file(self, write):
        folder = self.folder(write, B=STANZA.format(name="B") + "  sed: 1\n")
        with pytest.raises(
            ConfigError, match=r"^config/model_config/B\.yaml, line 4 \(B\): unknown key 'sed'"
        ):
            load_experiment(folder, "B")


def test_a_small_file_that_aliases_blow_up_is_refused_at_once(tmp_path):
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (tmp_path / "bomb.yaml").write_text("\n".join(levels))
    with pytest.raises(ConfigError, match=r"bomb.yaml, line \d+: aliases repeat more than 100,000 values"):
        read_mapping(tmp_path / "bomb.yaml")


@pytest.mark.parametrize("text", ["[" * 20_000, "{a: " * 20_000, "- " * 20_000 + "1"])
def test_levels_without_end_are_refused(text):
    with pytest.raises(ConfigError, match="more than 100 levels inside each other|too deep to be read"):
        read_value(text, "--set x")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("010", "010 is 8 to YAML 1.1, which reads base 8"),
        ("-017", "-017 is -15 to YAML 1.1, which reads base 8"),
        ("1:00", "1:00 is 60 to YAML 1.1, which reads base 60"),
        ("1:30:0.5", "1:30:0.5 is 5400.5 to YAML 1.1, which reads base 60"),
    ],
)
def test_numbers_of_base_8_and_60_are_refused_and_their_texts_are_not(text, told, write):
    with pytest.raises(ConfigError, match=rf"{re.escape(told)}\. Write .* or '{text}' in quotes"):
        read_value(text, "--set x")
    with pytest.raises(ConfigError, match=r"line 6 \(MMoE_test\): seed: 010 is 8"):
        load_experiment(write("seed: 010"), "MMoE_test")
    assert read_value(f"'{text}'", "--set x").value == text


@pytest.mark.parametrize("plain", ["0", "10", "0.5", "1_000", "0x1F", "-3", "08:15 o'clock"])
def test_other_numbers_and_texts_are_what_they_were(plain):
    read_value(plain, "--set x")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../up", "it is a path"),
        ("/etc/passwd", "it is a path"),
        (".", "it is a path"),
        ("..", "it is a path"),
        ("a\\b", "it is a path"),
        ("a\nb", "control characters"),
        ("a\x1b[2Jb", "control characters"),
        ("x" * 201, "longer than 200 bytes"),
        ("ä" * 101, "longer than 200 bytes"),
    ],
)
def test_names_that_cannot_be_folders_are_refused_with_their_line(write, name, problem):
    written = json.dumps(name)
    folder = write(model_config=STANZA.format(name=written))
    with pytest.raises(
        ConfigError, match=rf"line 1 [^:]*: the expid .* names a folder, which it cannot: .*{problem}"
    ):
        load_experiment(folder, name)
    folder = write("seed: 1", model_config=f"A:\n  model: MMoE\n  dataset_id: {written}\n")
    file = folder / "dataset_config.yaml"
    file.write_text(file.read_text().replace("tiny:", f"{written}:", 1))
    with pytest.raises(ConfigError, match=rf"the dataset id .* names a folder, which it cannot: .*{problem}"):
        load_experiment(folder, "A")


@pytest.mark.parametrize(
    ("option", "most"),
    [
        ("steps_per_execution=1000000000", 10_000),
        ("num_workers=1000000000", 1024),
        ("seed=4294967296", 2**32 - 1),
        ("feature_specs=[{name: user, embedding_dim: 1000000000}]", 2**16),
        ("feature_specs=[{name: user, max_len: 1000000000}]", 10**6),
    ],
)
def test_numbers_that_no_machine_can_hold_are_refused_with_their_key(write, option, most):
    with pytest.raises(ConfigError, match=rf"is \d+; (the most is|it lies .* to) {most}\b"):
        load_experiment(write(), "MMoE_test", [option])


def test_a_feature_whose_name_holds_control_characters_is_refused(write):
    with pytest.raises(ConfigError, match=r"the name 'a\\x1bb' holds control characters"):
        load_experiment(write(), "MMoE_test", ['feature_cols=[{name: "a\\eb"}]'])
