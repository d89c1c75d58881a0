"""The files: safe YAML with lines, duplicates, folders of files, and which Base applies."""

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
