"""READMEs say what is there: the generated block, paths, commands; and no result is typed by hand."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest

from bench.readme import block as bench_block
from common.results.readme import PAGES, block, with_blocks
from common.study.notebooks import find

ROOT = Path(__file__).resolve().parents[2]
# Not those of outputs/, which libraries write beside a checkpoint.
_NOT_OURS = (".", "outputs")
READMES = [p for p in sorted(ROOT.glob("**/README.md")) if not p.relative_to(ROOT).parts[0].startswith(_NOT_OURS)]
DOCUMENTS = [*READMES, *sorted(ROOT.glob("docs/*.md")), *(notebook.path for notebook in find())]
_BLOCK = re.compile(r"<!-- results:(?:[\w-]+:)?begin -->.*?<!-- results:(?:[\w-]+:)?end -->", re.DOTALL)
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
_FILE = re.compile(r"[\w.-]+(/[\w.*-]+)*(/|\.(py|ipynb|md|json|jsonl|csv|txt|toml|cff|png))")
# A share such as .45 or 0.451, or a percentage; versions (3.11), sizes (0.6B) and learning rates (1e-3) are none.
_RESULT = re.compile(r"(?<![\w.,])0?\.\d{2,}(?!\w|\.\d)|(?<![\w.])\d+(\.\d+)?\s?%")


def typed_results(text: str) -> list[str]:
    """Numbers in prose that a record should supply; generated blocks, code and formulas are left out."""
    prose = _CODE.sub("", _FENCE.sub("", _BLOCK.sub("", text)))
    prose = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$", "", prose, flags=re.DOTALL)
    return [match[0] for match in _RESULT.finditer(prose)]


def paths(text: str) -> set[str]:
    """Files and folders that a text names, in links, in `code`, and in a tree's first column."""
    text = _BLOCK.sub("", text)
    names = [*_LINK.findall(text), *(code for code in _CODE.findall(_FENCE.sub("", text)) if _FILE.fullmatch(code))]
    first = (line.split()[0] for fence in _FENCE.findall(text) for line in fence.splitlines() if line.split())
    return {*names, *(word for word in first if _FILE.fullmatch(word))}


def absent(text: str, folder: Path) -> list[str]:
    """Paths that a text names but that neither exist nor are git-ignored."""
    return [p for p in sorted(paths(text)) if not (_exists(p, ROOT) or _exists(p, folder) or _ignored(p))]


def _exists(name: str, folder: Path) -> bool:
    if "/" not in name and any(folder.glob(f"*/{name}")):  # a file of each of the folder's folders
        return True
    return any(folder.glob(name)) if "*" in name else (folder / name).exists()


def _ignored(name: str) -> bool:
    return subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0


def unknown_commands(text: str) -> list[str]:
    """make targets and modules in fences and `code` that do not exist."""
    code = "\n".join([*_FENCE.findall(text), *_CODE.findall(text)])
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    unknown = [f"make {name}" for name in re.findall(r"\bmake ([a-z]+)", code) if name not in targets]
    for name in re.findall(r"\bpython -m ((?:common|bench)[\w.]*)", code):
        place = ROOT / name.replace(".", "/")
        if not (place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()):
            unknown.append(f"python -m {name}")
    return unknown


def markdown_of(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_the_blocks_of_pages_are_those_of_the_records(monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(ROOT / "results"))
    for path, make, command in (
        *((page, block, "common.results readme") for page in PAGES),
        ("bench/README.md", bench_block, "bench.readme"),
    ):
        text = (ROOT / path).read_text()
        assert _BLOCK.search(text)
        assert text == with_blocks(text, make), f"python -m {command}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_document(path):
    text = markdown_of(path)
    assert not typed_results(text), "numbers come from records"
    assert not absent(text, path.parent)
    assert not unknown_commands(text)


def test_every_folder_of_notebooks_has_a_readme():
    assert not {notebook.path.parent for notebook in find()} - {path.parent for path in READMES}


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("match is 0.45 here", ["0.45"]),
        ("It rose to 0.61. It fell to .25, later.", ["0.61", ".25"]),
        ("rose by .254, to 61 % or 61.5%", [".254", "61 %", "61.5%"]),
        ("`0.45` and\n```\n0.45\n```\n<!-- results:begin -->\n0.45\n<!-- results:end -->\n$0.75 x$", []),
        ("Python 3.11, torch 2.13.0, Qwen3-0.6B, 1e-3, 0.7 times, 16 GB, 4-bit", []),
    ],
)
def test_typed_results_are_seen(text, numbers):
    assert typed_results(text) == numbers


def test_absent_paths_and_unknown_commands_are_seen():
    text = (
        "[a](common/hub.py) [b](gone.md#x) `common/` `common/gone.py` `Qwen/Qwen3-0.6B` `outputs/x.json` "
        "`results/*/nothing.json` [c](https://example.org/x.md)\n```\ncommon/   code\nlost/  not there\n```\n"
        "`make run` `make coffee` `python -m common.results readme` `python -m common.gone` `python -m bench.gone`"
    )
    assert absent(text, ROOT) == ["common/gone.py", "gone.md", "lost/", "results/*/nothing.json"]
    assert unknown_commands(text) == ["make coffee", "python -m common.gone", "python -m bench.gone"]


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200, "move what few need to docs/"
