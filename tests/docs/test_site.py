"""The site of the guides is built without a warning; its notebooks and its tutorial run (extra docs)."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs the extra docs")
nbformat = pytest.importorskip("nbformat", reason="needs the extra docs")
nbclient = pytest.importorskip("nbclient", reason="needs the extra docs")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# The fourth is run, and its numbers are compared, without the extra.
OWN_TEST = "quickstart.ipynb"


@pytest.fixture
def checkout(tmp_path):
    """A working directory with what the commands of a guide need of the repository."""
    for name in ("data/tiny_mtl", "run_expid.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built without a warning: every page is reachable and every link has a target."""
    folder = tmp_path_factory.mktemp("site")
    command = ["-m", "mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml", "--site-dir", folder]
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_site_has_every_guide_in_both_languages(site):
    for page in (*ROOT.glob("docs/*.md"), *ROOT.glob("model_zoo/guides/*.md")):
        name = page.relative_to(ROOT).with_suffix(".html")
        if ".zh-CN" not in name.name:
            assert (site / name).is_file(), name
            assert (site / "zh-CN" / name).is_file(), name
    assert "从日志到上线的模型" in (site / "zh-CN" / "docs" / "tutorial.html").read_text(encoding="utf-8")
    assert (site / "docs" / "notebooks" / "entire_space.html").is_file()


def test_the_search_finds_chinese_words_inside_of_sentences(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    parts = re.compile(index["config"]["separator"])
    words = [parts.split(entry["text"]) for entry in index["docs"]]
    assert sum("校准" in found for found in words) > 5
    assert sum("calibration" in found for found in words) > 5


def test_the_site_calls_no_other_host(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://", page)


@pytest.mark.parametrize(
    "notebook", [path for path in NOTEBOOKS if path.name != OWN_TEST], ids=lambda p: p.stem
)
def test_a_notebook_runs(notebook, checkout):
    content = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(content, timeout=600, resources={"metadata": {"path": str(checkout)}}).execute()
    assert not any(cell.get("outputs") for cell in nbformat.read(notebook, as_version=4).cells)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each block of code."""
    return re.findall(r"```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def test_the_tutorial_runs_from_its_first_block_to_its_last(checkout):
    for language, text in blocks(ROOT / "docs" / "tutorial.md"):
        if language == "yaml":
            file = checkout / text.splitlines()[0].removeprefix("# ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            continue
        command = text if language == "bash" else f"{sys.executable} -c '{text}'"
        script = f'python() {{ "{sys.executable}" "$@"; }}\n{command}'
        done = subprocess.run(
            ["bash", "-ec", script], cwd=checkout, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert (checkout / "shop.html").is_file()
    assert len((checkout / "scored.csv").read_text().splitlines()) == 1001
    shutil.rmtree(checkout / "checkpoints")


def test_both_languages_of_a_page_have_the_same_blocks():
    pages = list((ROOT / "docs").glob("*.zh-CN.md"))
    assert pages
    for page in pages:
        assert blocks(page) == blocks(page.with_name(page.name.replace(".zh-CN", ""))), page
