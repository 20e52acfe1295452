"""The anatomy of every notebook, found by glob. Each rule is also shown a notebook that breaks it."""

import ast
import copy
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from common.study.notebooks import find
from common.study.publish import NBSTRIPOUT

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [notebook.path for notebook in find()]
# Not executed yet; without outputs until they are.
AWAITED = {
    "sft/fullft.ipynb",
    "dpo/controls.ipynb",
    "dpo/dpo.ipynb",
    "examples/train_grpo.ipynb",
    "grpo/grpo_lr1e6.ipynb",
    "grpo/grpo_lr1e6_ngen4.ipynb",
    "grpo/grpo_lr1e8.ipynb",
    "grpo/grpo_rm.ipynb",
}
MOST_CODE_LINES, MOST_PARAMETERS, MOST_BYTES, MOST_FIGURES = 110, 12, 200_000, 3
PARAMETER = re.compile(r"[A-Z][A-Z0-9_]*: (str|int|float|bool) = \S.*  # [^=]+")
FORBIDDEN = re.compile(r"\bIN_CI\b|^\s*[!%]|\bsys\.path\b|\bget_ipython\b|\bos\.chdir\b", re.MULTILINE)
ABSOLUTE = re.compile(
    r"(?<![\w.])/(home|root|work|tmp|usr|Users|mnt|opt|var|content|private|kaggle)/|[A-Z]:\\\\|site-packages"
)
WARNING = re.compile(r"\b\w*Warning\b:|warnings\.warn")


def problems(notebook: nbformat.NotebookNode, name: str) -> list[str]:
    """Every rule that a notebook breaks."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        *_code_problems([cell.source for cell in code], name),
        *_parameter_problems(code),
        *_output_problems(code, name),
        *([] if notebook.metadata.get("kernelspec", {}).get("name") == "python3" else ["kernel is not python3"]),
        *([] if notebook.cells[0].cell_type == "markdown" else ["does not start with its title"]),
        *([] if notebook.cells[-1].cell_type == "markdown" else ["does not end with what was learned"]),
        *(["TODO"] if any(re.search(r"\bTODO\b|^- LEARNED", c.source, re.MULTILINE) for c in notebook.cells) else []),
    ]


def _code_problems(sources: list[str], name: str) -> list[str]:
    lines = [line for source in sources for line in source.splitlines() if line.strip() and line.strip()[0] != "#"]
    faults = [f"{len(lines)} code lines"] if len(lines) > MOST_CODE_LINES else []
    faults += [f"forbidden: {match[0].strip()}" for source in sources for match in FORBIDDEN.finditer(source)]
    if faults:
        return faults  # what is no plain Python cannot be parsed
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    banned = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try, ast.Lambda)
    faults += [f"has a {type(node).__name__}" for node in nodes if isinstance(node, banned)]
    starts = [node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "start_run"]
    if len(starts) != 1:
        return [*faults, f"{len(starts)} calls of start_run"]
    paths = [ast.unparse(keyword.value) for keyword in starts[0].keywords if keyword.arg == "notebook"]
    return faults if paths == [repr(name)] else [*faults, f"start_run has notebook={paths}"]


def _parameter_problems(code: list[nbformat.NotebookNode]) -> list[str]:
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if tagged != code[:1] or not tagged:
        return ["the first code cell, and no other, is tagged parameters"]
    lines = tagged[0].source.splitlines()
    faults = [f"parameter line: {line}" for line in lines if not PARAMETER.fullmatch(line)]
    faults += [f"{len(lines)} parameters"] if len(lines) > MOST_PARAMETERS else []
    statements = [s for s in ast.parse(tagged[0].source).body if isinstance(s, ast.AnnAssign)]
    faults += [f"derived: {s.target.id}" for s in statements if not _literal(s.value)]
    missing = {"PROFILE", "SEED", "RUN_NAME"} - {s.target.id for s in statements}
    return faults + [f"no parameter {name}" for name in sorted(missing)]


def _literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _output_problems(code: list[nbformat.NotebookNode], path: str) -> list[str]:
    if path in AWAITED:
        return ["has outputs, so it is awaited no longer"] if any(cell.outputs for cell in code) else []
    faults = []
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        faults.append("was not executed once, top to bottom")
    if any("injected-parameters" in cell.metadata.get("tags", []) for cell in code):
        faults.append("was executed with other parameters than its own")
    outputs = [output for cell in code for output in cell.outputs]
    data = [output.get("data", {}) for output in outputs]
    faults += ["an error in an output" for output in outputs if output.output_type == "error"]
    faults += ["stderr in an output" for output in outputs if output.get("name") == "stderr"]
    faults += ["a widget in an output" for kinds in data if any("widget" in kind for kind in kinds)]
    figures = sum("image/png" in kinds for kinds in data)
    faults += [f"{figures} figures"] if figures > MOST_FIGURES else []
    texts = [text for kinds in data for kind, text in kinds.items() if kind.startswith("text/")]
    for text in [*texts, *(output.text for output in outputs if output.output_type == "stream")]:
        faults += [f"a path of one machine: {match[0]}" for match in ABSOLUTE.finditer(text)]
        faults += [f"a warning: {match[0]}" for match in WARNING.finditer(text)]
    return faults


def test_some_notebooks_were_found():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_anatomy(path):
    assert not problems(nbformat.read(path, as_version=4), path.relative_to(ROOT).as_posix())
    assert path.stat().st_size <= MOST_BYTES


def test_volatile_metadata_is_stripped():
    command = [sys.executable, "-m", "nbstripout", "--verify", *NBSTRIPOUT, *map(str, NOTEBOOKS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}; python -m common.study publish strips them"


def good() -> nbformat.NotebookNode:
    """A notebook that keeps every rule."""
    sources = [
        'PROFILE: str = "auto"  # which sizes\nSEED: int = 42  # of everything\nRUN_NAME: str = "x"  # the record',
        "from common.run import start_run",
        'run = start_run(RUN_NAME, notebook="a/x.ipynb", profile=PROFILE)',
        "run",
    ]
    code = [nbformat.v4.new_code_cell(source, execution_count=n) for n, source in enumerate(sources, 1)]
    code[0].metadata.tags = ["parameters"]
    code[3].outputs = [
        nbformat.v4.new_output("execute_result", data={"text/plain": "1 rows/s"}, execution_count=4),
        nbformat.v4.new_output("stream", name="stdout", text="record: results/cpu/x.json\n"),
    ]
    text = nbformat.v4.new_markdown_cell
    notebook = nbformat.v4.new_notebook(cells=[text("# X"), *code, text("What was learned.")])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def cell_source(index: int, source: str) -> Callable:
    return lambda notebook: notebook.cells[index].update(source=source)


def add_line(line: str) -> Callable:
    return lambda notebook: notebook.cells[1].update(source=f"{notebook.cells[1].source}\n{line}")


def output(kind: str, **fields) -> Callable:
    return lambda notebook: notebook.cells[4].outputs.append(nbformat.v4.new_output(kind, **fields))


BROKEN = {
    "has a FunctionDef": cell_source(4, "def f():\n    pass"),
    "has a ClassDef": cell_source(4, "class A:\n    pass"),
    "has a Try": cell_source(4, "try:\n    run\nexcept ValueError:\n    pass"),
    "forbidden: !": cell_source(4, "!pip install x"),
    "forbidden: %": cell_source(4, "  %cd .."),
    "forbidden: IN_CI": cell_source(4, "if IN_CI:\n    run"),
    "forbidden: sys.path": cell_source(4, "sys.path.append('..')"),
    "111 code lines": cell_source(4, "\n".join(["run"] * 106)),
    "0 calls of start_run": cell_source(3, "run = 1"),
    "start_run has notebook": cell_source(3, 'run = start_run(RUN_NAME, notebook="a/y.ipynb")'),
    "13 parameters": add_line("\n".join(f"N{i}: int = {i}  # one more" for i in range(10))),
    "derived: N": add_line("N: int = SEED + 1  # derived"),
    "parameter line: N: int = 1  # a=b": add_line("N: int = 1  # a=b"),
    "parameter line: N = 1": add_line("N = 1"),
    "parameter line: import os": add_line("import os"),
    "no parameter SEED": cell_source(1, 'PROFILE: str = "auto"  # sizes\nRUN_NAME: str = "x"  # the record'),
    "is tagged parameters": lambda notebook: notebook.cells[2].metadata.update(tags=["parameters"]),
    "top to bottom": lambda notebook: notebook.cells[3].update(execution_count=9),
    "with other parameters": lambda notebook: notebook.cells[2].metadata.update(tags=["injected-parameters"]),
    "an error": output("error", ename="E", evalue="", traceback=[]),
    "stderr": output("stream", name="stderr", text="bar"),
    "a widget": output("display_data", data={"application/vnd.jupyter.widget-view+json": {}}),
    "4 figures": lambda notebook: [output("display_data", data={"image/png": "x"})(notebook) for _ in range(4)],
    "a path of one machine: /home/": output("stream", name="stdout", text="saved to /home/me/x"),
    "a path of one machine: site-packages": output("display_data", data={"text/html": "lib/site-packages/x.py"}),
    "a warning: FutureWarning:": output("stream", name="stdout", text="FutureWarning: no more"),
    "kernel is not python3": lambda notebook: notebook.metadata.kernelspec.update(name="conda-env"),
    "start with its title": lambda notebook: notebook.cells.pop(0),
    "what was learned": lambda notebook: notebook.cells.pop(),
    "TODO": cell_source(-1, "TODO"),
}


def test_a_good_notebook_breaks_no_rule():
    assert problems(good(), "a/x.ipynb") == []


@pytest.mark.parametrize("expected", BROKEN)
def test_a_broken_notebook_breaks_its_rule(expected):
    notebook = copy.deepcopy(good())
    BROKEN[expected](notebook)
    assert any(expected in problem for problem in problems(notebook, "a/x.ipynb"))
