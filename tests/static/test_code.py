"""What the package promises as a whole: its layers, what its light parts do not import, sizes, no strangers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each module imports only from those before it. A new module gets its place here.
LAYERS = [
    *("settings", "pipes", "tracking", "locks", "arithmetic", "provenance", "hub", "profiles", "paths", "synthetic"),
    *("data", "inputs"),
    *("retrieval", "prose", "extraction", "prompts", "sandbox", "mutations", "scoring", "execution", "statistics"),
    *(
        "metric",
        "certify",
        "shots",
        "distributed",
        "threads",
        "gguf",
        "weights",
        "tiny",
        "models",
        "generation",
        "completions",
    ),
    *(
        "rewards",
        "preferences",
        "evaluators",
        "evaluation",
        "training",
        "sweeps",
        "assessment",
        "results",
        "display",
        "pair_display",
        "group_display",
        "pictures",
        "overview",
    ),
    *("score", "costs", "releases", "run", "starts", "ask", "notebook", "study"),
]
# The same within each package; `__init__` and `__main__` stand above all parts of theirs.
PARTS = {
    "ask": ["places", "copies", "prompting", "hints", "votes", "display", "answers", "weights", "export", "shop"],
    "certify": ["duplicates", "floor", "rewrites", "readings", "probe", "shares", "references", "equivalents"]
    + ["literals", "mutants"],
    "certify.readings": ["tables", "structure", "superlatives", "counting", "membership", "joining", "values"]
    + ["windows", "layout"],
    "certify.rewrites": ["conditions", "safety", "queries", "writes", "texts"],
    "data": ["example", "notices", "cells", "tables", "files", "splits", "gretel", "ddl", "spider"],
    "evaluators": ["results", "texts", "task", "verdicts"],
    "execution": ["cells", "files", "task", "batches", "executions"],
    "generation": ["sampling", "onednn", "attention", "capacity", "columns", "prefill", "batching"]
    + ["support", "single", "answers"],
    "metric": ["metric"],
    "mutations": ["edits", "clauses", "expressions", "changes", "neighbours"],
    "preferences": ["candidates", "sampled", "calls", "remote", "errors", "certification", "pairs", "files", "sources"],
    "retrieval": ["schemas", "questions", "neighbours", "filling"],
    "results": ["formats", "record", "sections", "ledger", "places", "comparable", "entries", "planned"]
    + [
        "comparison",
        "seeds",
        "published",
        "tables",
        "overview",
        "findings",
        "transfer",
        "figure",
        "audits",
        "measures",
        "catalogue",
    ]
    + ["rescore", "restamp", "verify", "cards", "evaluators", "readme", "explorer"],
    "results.evaluators": ["store", "ranking", "kinds", "report"],
    "results.explorer": ["selection", "databases", "contents", "page"],
    "rewards": ["scope", "reading", "operations", "parts", "functions", "rewards", "display", "brevity"],
    "sandbox": ["guard", "frames", "functions", "connections", "process", "worker", "database", "messages", "pool"]
    + ["statements"],
    "scoring": ["pairing", "compare", "columns", "query", "rouge", "state", "keys", "ordering", "running", "published"]
    + ["suites", "judge", "arguments", "scorer"],
    "scoring.suites": ["naming", "formats", "survey", "store", "links", "mentions", "values", "misses", "filling"]
    + ["workshop", "building"],
    "statistics": ["intervals", "rows", "ranking", "concordance"],
    "study": ["notebooks", "execute", "publish", "pending", "seeds"],
    "sweeps": ["liveness", "journal", "storage", "space", "sampler", "sweep", "attempts", "folders", "objective"]
    + ["result", "additions", "searching", "preferences"],
    "synthetic": ["content", "tables", "scene", "plan", "render", "check", "conditions", "phrases", "lists", "totals"]
    + ["grouping", "linked", "rollups", "nesting", "analytic", "combos", "steps", "writes", "mix"],
    "training": ["recipe", "defaults", "tree", "plan", "architecture", "hours", "estimate", "memory", "probe"]
    + ["adapters", "adapt", "attention", "layers", "rows", "layout", "losses", "objective", "checkpoints"]
    + ["arguments", "optimizers", "trainer", "session", "sft"]
    + ["preference_losses", "likelihoods", "dpo", "reward", "preference_defaults", "pair_tables"]
    + ["group_recipe", "policy_losses", "groups", "held_out", "policy_start", "rollouts"]
    + ["group_trainer", "grpo", "preflight", "model_reward"]
    + ["group_defaults"],
}
MODULES = sorted(ROOT.glob("common/**/*.py"))
MOST_LINES = 320


def tracked() -> list[Path]:
    """What is or would be committed."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    return [path for name in names.decode().split("\0") if name and (path := ROOT / name).is_file()]


def owner(path: Path) -> str:
    """The name in LAYERS that a file belongs to; '' for the package's own __init__."""
    return path.relative_to(ROOT / "common").parts[0].removesuffix(".py").replace("__init__", "")


def imported(source: str, package: str = "") -> set[str]:
    """The direct parts of a package of `common` that a source imports, at any depth of the code."""
    found, start = set(), f"common.{package}." if package else "common."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the module in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.removeprefix(start).split(".")[0] for name in names if name.startswith(start)}
    return found


def upward(source: str, layer: str, package: str = "") -> set[str]:
    """What a module of `layer` imports although it stands above it."""
    order = PARTS[package] if package else LAYERS
    parts = {name for name in imported(source, package) if not package or name in order}  # else a name of __init__'s
    return {name for name in parts if order.index(name) > order.index(layer)}


def test_upward_sees_an_upward_import():
    assert upward("from common import study, data\nimport common.settings", "scoring") == {"study"}
    assert upward("def f():\n    from common.training import Recipe", "models") == {"training"}
    assert upward("from common.scoring.judge import run", "ordering", "scoring") == {"judge"}
    assert upward("from common.scoring import keys, judge", "scorer", "scoring") == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_is_short_and_imports_only_from_those_before_it(path):
    source = path.read_text()
    lines = len(source.splitlines())
    assert lines <= MOST_LINES, f"{lines} lines; split it by what it owns"
    if layer := owner(path):
        assert layer in LAYERS, f"'{layer}' has no place in LAYERS"
        assert not (above := upward(source, layer)), f"{layer} comes before {', '.join(sorted(above))}"
    if path.name != "__main__.py" and source.strip():
        assert ast.get_docstring(ast.parse(source)), "the first lines say what it covers and what it does not"


@pytest.mark.parametrize("package", sorted(PARTS))
def test_a_packages_parts_import_only_from_those_before_them(package):
    folder = ROOT.joinpath("common", *package.split("."))
    parts = {path.stem: [path] for path in folder.glob("*.py") if not path.stem.startswith("__")}
    parts |= {path.parent.name: sorted(path.parent.rglob("*.py")) for path in folder.glob("*/__init__.py")}
    assert sorted(parts) == sorted(PARTS[package]), "a new module gets its place in PARTS"
    for part, paths in parts.items():
        above = set().union(*(upward(path.read_text(), part, package) for path in paths))
        assert not above, f"{part} comes before {', '.join(sorted(above))}"


def test_every_package_has_its_order():
    packages = {path.parent.relative_to(ROOT / "common") for path in ROOT.glob("common/*/**/__init__.py")}
    assert {".".join(path.parts) for path in packages} == set(PARTS)


# Participles say when, not what; the rest are words that had two meanings here.
NO_NAMES = {
    "found",
    "made",
    "told",
    "asked",
    "taught",
    "kept",
    "own",
    "looked",
    "dealt",
    "said",
    "seen",
    "shown",
    "idle",
}
# What the committed notebooks call stays until they are executed anew.
OF_NOTEBOOKS = {"common/run.py": {"found"}}


def identifiers(source: str) -> set[str]:
    """Names that a source gives: of variables, attributes, arguments, functions and classes."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
    return names


def test_identifiers_are_seen_wherever_they_are_given():
    assert identifiers("def f(a, *b, c=1):\n    self.d = e = [g for g in a]\nclass H: pass") == set("abcdefg") | {"H"}


@pytest.mark.parametrize("path", [*MODULES, *sorted(ROOT.glob("bench/*.py"))], ids=lambda path: path.name)
def test_names_are_nouns(path):
    name = path.relative_to(ROOT).as_posix()
    words = {identifier.lower().strip("_") for identifier in identifiers(path.read_text())}
    assert not (words | {path.stem}) & NO_NAMES - OF_NOTEBOOKS.get(name, set())


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_files_of_tests_and_benches_are_short_too(folder):
    lines = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in ROOT.glob(f"{folder}/**/*.py")}
    assert lines
    assert not {path.as_posix(): n for path, n in lines.items() if n > MOST_LINES}, "split it by what it tests"


def test_data_scoring_and_the_ledger_do_without_torch():
    code = (
        "import sys, common.scoring, common.data, common.results\n"
        "from common.scoring import Scorer, Verdict\n"
        "print(*sorted({'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_nothing_of_one_machine_is_in_the_repository():
    # Put together here, so that this file does not find itself.
    strangers = ["/" + "work/", "." + "library", str(Path.home()) + "/"]
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in strangers if word in text]
    assert not found
