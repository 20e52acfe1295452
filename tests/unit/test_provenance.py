"""What a result stands on: the closure of imports, its digest, packages, and what a record says of the commit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common import provenance
from common.provenance import closure, code, digest, files_digest, imports, notebook_digest, packages

ROOT = Path(__file__).resolve().parents[2]
ROOTS = ("common.evaluation", "common.scoring.scorer", "common.training.sft")


@pytest.fixture
def tree(tmp_path):
    """A copy of the package whose files may be changed; `digest` is of the code as it is now."""
    shutil.copytree(ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__"))

    class Tree:
        root = tmp_path

        @staticmethod
        def digest(*modules: str) -> str:
            provenance._code.cache_clear()
            return code(*modules, root=tmp_path)

    return Tree


def write(root: Path, **sources: str) -> Path:
    for name, source in sources.items():
        path = root / "common" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        (path.parent / "__init__.py").touch()
    return root


@pytest.mark.parametrize("module", ROOTS)
def test_a_change_of_any_module_of_the_closure_changes_the_digest_and_no_other_does(module, tree):
    inside, before = closure(module, root=tree.root), tree.digest(module)
    files = sorted((tree.root / "common").rglob("*.py"))
    others = [path for path in files if path not in inside.values()]
    assert len(inside) > 20 and len(others) > 20
    for path in inside.values():
        text = path.read_text()
        path.write_text(f"{text}\nchanged = 1\n")
        assert tree.digest(module) != before, path.relative_to(tree.root)
        path.write_text(text)
    for path in others:  # all at once: a digest reads the whole closure
        path.write_text(f"{path.read_text()}\nchanged = 1\n")
    assert tree.digest(module) == before


def test_what_evaluations_and_trainings_stand_on():
    """Modules that today's hand-kept lists had forgotten, and some that have no part."""
    answers, training = closure("common.evaluation"), closure("common.training.sft")
    assert {"common.distributed", "common.settings", "common.sandbox.worker", "common.scoring.judge"} <= answers.keys()
    assert answers.keys() < training.keys()
    for name in ("display", "sweeps", "results", "study", "certify", "metric"):
        assert not [module for module in training if module.split(".")[1:2] == [name]]
    assert not {"common.data", "common.synthetic"} & closure("common.scoring.judge").keys()


def test_a_mended_scorer_asks_for_new_verdicts_and_for_no_new_training(tree):
    """Nor for new answers: a training stands on the scorer only where it scores answers on its way."""
    modules = ("common.training.sft", "common.sweeps.searching", "common.evaluation")
    before = [tree.digest("common.scoring.scorer"), code(*modules, without=provenance.SCORING, root=tree.root)]
    path = tree.root / "common" / "scoring" / "rouge.py"
    path.write_text(path.read_text() + "\nchanged = 1\n")
    assert tree.digest("common.scoring.scorer") != before[0]
    assert code(*modules, without=provenance.SCORING, root=tree.root) == before[1]
    left_out = closure(*modules).keys() - closure(*modules, without=provenance.SCORING).keys()
    assert {name.split(".")[1] for name in left_out} == {"scoring", "sandbox", "mutations", "extraction", "prose"}


def test_a_default_makes_no_other_code_of_a_training_that_holds_its_values(tree):
    """But of a run that a parameter of 0 leaves it to, so that it gets a folder of its own."""
    before = [tree.digest("common.training.sft"), tree.digest("common.training.sft", *provenance.VALUES)]
    for module in provenance.VALUES:
        path = tree.root / f"{module.replace('.', '/')}.py"
        path.write_text(path.read_text() + "\nchanged = 1\n")
    assert tree.digest("common.training.sft") == before[0]
    assert tree.digest("common.training.sft", *provenance.VALUES) != before[1]


def test_the_digest_by_which_samples_are_drawn_stays():
    assert provenance.digest("a", 1, {"b": 2}) == "319197405aecb92f"


def test_comments_docstrings_and_layout_change_nothing(tree):
    path = tree.root / "common" / "prompts.py"
    text, before = path.read_text(), tree.digest("common.prompts")
    path.write_text("# A comment.\n" + text.replace('"""The prompt of every method', '"""Another docstring'))
    assert tree.digest("common.prompts") == before
    path.write_text(text.replace("def messages(", "def messages(\n    ", 1))
    assert tree.digest("common.prompts") == before
    path.write_text(text.replace("Return SQL query only.", "Return SQL only."))
    assert tree.digest("common.prompts") != before


def test_word_lists_beside_the_code_are_part_of_it(tree):
    before, other = tree.digest("common.synthetic"), tree.digest("common.statistics")
    words = next((tree.root / "common" / "synthetic").rglob("*.toml"))
    words.write_text(words.read_text() + "\n")
    assert tree.digest("common.synthetic") != before and tree.digest("common.statistics") == other


def test_imports_are_followed_wherever_they_stand(tmp_path):
    write(
        tmp_path,
        start="def late():\n    from common.one import thing\n\n\nif 1:\n    import common.two\n",
        one="from common import three\n",
        two="TASK = 'common.four'\nBOOT = 'import sys; from common.five import main; main()'\n",
        three="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from common.six import Type\n",
        four='"""Says common.seven in its docstring."""\n',
        five="import common.pack.inner\n",
        pack__inner="",
        six="",
        seven="",
    )
    names = {name.removeprefix("common.") for name in closure("common.start", root=tmp_path)}
    assert names == {"common", "start", "one", "two", "three", "four", "five", "pack", "pack.inner"}
    with pytest.raises(KeyError, match="no module common.nine"):
        closure("common.nine", root=tmp_path)


def test_packages_of_the_closure_and_what_has_no_say(tmp_path):
    write(
        tmp_path,
        start="import json, sqlite3, numpy.linalg\nfrom common.one import x\nimport tqdm\n",
        one="def late():\n    import sqlglot, nowhere_to_be_found\n",
    )
    versions = packages("common.start", root=tmp_path)
    assert versions.keys() == {"python", "sqlite", "numpy", "sqlglot", "nowhere-to-be-found"}
    assert versions["nowhere-to-be-found"] == "" and versions["python"] == f"3.{sys.version_info.minor}"
    import numpy

    assert versions["numpy"] == numpy.__version__


def test_a_training_stands_on_the_libraries_that_train():
    names = {"torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "sqlite", "sqlglot"}
    assert names <= packages("common.training.sft").keys()
    assert {"sqlite", "sqlglot", "rapidfuzz"} <= packages("common.scoring.scorer").keys()
    assert not {"torch", "transformers", "datasets"} & packages("common.scoring.scorer").keys()


def test_the_basis_of_what_is_kept_changes_with_code_packages_and_device(monkeypatch, tree):
    before = provenance.basis("common.prompts")
    assert provenance.basis("common.prompts") == before
    for name in ("code", "packages", "device_name"):
        with monkeypatch.context() as patch:
            patch.setattr(provenance, name, lambda *_, **__: "other")
            assert provenance.basis("common.prompts") != before, name


def test_the_digest_of_a_running_process_is_of_the_code_that_it_runs(tree):
    before = code("common.prompts", root=tree.root)
    path = tree.root / "common" / "prompts.py"
    path.write_text(path.read_text() + "\nchanged = 1\n")
    assert code("common.prompts", root=tree.root) == before != tree.digest("common.prompts")


def test_every_version_of_python_sees_the_same_tree():
    """Fields that only newer ones have are empty where the code does not use them."""
    text = provenance._plain(
        provenance._without_docstrings(provenance.ast.parse("def f(a: int) -> int:\n    return a"))
    )
    assert text == [
        "Module",
        ["body"]
        + [
            [
                ["FunctionDef", ["name", "f"]]
                + [
                    ["args", ["arguments", ["args", [["arg", ["arg", "a"], ["annotation", ["Name", ["id", "int"]]]]]]]],
                    ["body", [["Return", ["value", ["Name", ["id", "a"]]]]]],
                    ["returns", ["Name", ["id", "int"]]],
                ]
            ]
        ],
    ]


def test_digests_of_values_and_files(tmp_path):
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert len(digest("x")) == 16
    for name, text in (("a.py", "1"), ("b.txt", "2"), ("c.pyc", "3")):
        (tmp_path / name).write_text(text)
    whole = files_digest(tmp_path.iterdir())
    (tmp_path / "c.pyc").write_text("4")
    assert files_digest(sorted(tmp_path.iterdir(), reverse=True)) == whole
    (tmp_path / "b.txt").rename(tmp_path / "d.txt")
    assert files_digest(tmp_path.iterdir()) != whole


def notebook(path: Path, *cells: tuple[str, str, list[str]]) -> Path:
    text = {"cells": [{"cell_type": kind, "source": text, "metadata": {"tags": tags}} for kind, text, tags in cells]}
    path.write_text(json.dumps(text))
    return path


def test_a_notebooks_digest_is_of_its_code_and_its_imports_are_its_own(tmp_path):
    cells = [("markdown", "# Words", []), ("code", "from common.evaluation import evaluate\nimport pandas", [])]
    one = notebook(tmp_path / "one.ipynb", *cells)
    other = notebook(
        tmp_path / "two.ipynb", ("markdown", "# Other", []), cells[1], ("code", "SEED = 7", ["injected-parameters"])
    )
    assert notebook_digest(one) == notebook_digest(other)
    assert notebook_digest(one) != notebook_digest(notebook(tmp_path / "three.ipynb", cells[1], cells[1]))
    assert imports(one) == ["common.evaluation"]
    script = tmp_path / "script.py"
    script.write_text("from common.data import load_examples\n")
    assert imports(script) == ["common.data"] and notebook_digest(script) == files_digest([script])


def test_a_commit_is_clean_only_where_nothing_that_matters_differs(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", *arguments], cwd=tmp_path, check=True)

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit() == ("", True)
    write(tmp_path, start="")
    (tmp_path / "run.ipynb").write_text("{}")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    sha, dirty = provenance.commit("run.ipynb")
    assert len(sha) == 40 and not dirty
    (tmp_path / "README.md").write_text("words")
    assert provenance.commit("run.ipynb") == (sha, False)
    (tmp_path / "run.ipynb").write_text("{} ")
    assert provenance.commit("run.ipynb") == (sha, True) and provenance.commit() == (sha, False)
    write(tmp_path, start="x = 1\n")
    assert provenance.commit() == (sha, True)


def test_the_device_is_named_without_the_machine():
    name = provenance.device_name()
    assert name.endswith(" threads") and "native bfloat16, " in name and provenance.device_name(threads=False) == "CPU"
