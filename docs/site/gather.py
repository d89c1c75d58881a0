"""Pages of the repository as pages of the site, under the paths at which their links look for each other."""

import json
import re
import shutil
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "build" / "pages"
PATTERNS = (
    "*.md",
    "LICENSE",
    "docs/*.md",
    "docs/notebooks/*.ipynb",
    "docs/deploy/*",
    "docs/pictures/*.png",
    "model_zoo/guides/*.md",
    "benchmarks/*.md",
    "benchmarks/pictures/*.png",
    "data/*/README.md",
)
# The site has a switch of its own between languages.
OTHER_LANGUAGE = re.compile(r"\[[^]]+\]\(README(\.zh-CN)?\.md\) · ")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Copies the pages into one folder, of which the site is made."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in sorted(found for pattern in PATTERNS for found in ROOT.glob(pattern)):
        copy = PAGES / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        if path.suffix == ".ipynb":
            copy.with_suffix(".md").write_text(as_page(path), encoding="utf-8")
    for path in PAGES.glob("README*.md"):
        path.write_text(OTHER_LANGUAGE.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
    config.docs_dir = str(PAGES)
    return config


def as_page(notebook: Path) -> str:
    """The cells of a notebook as Markdown, with a link to the notebook."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    return "\n\n".join([*parts, f"[The notebook]({notebook.name})\n"])
