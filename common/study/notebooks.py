"""The repository's notebooks as their own code describes them: what each makes and needs, and its parameters.

`start_run(RUN_NAME, needs=(...))` and `run.save(..., method="...")` are read from the code, nothing is listed here and
nothing is executed.
"""

import ast
import graphlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from common import paths
from common.profiles import resolve
from common.results import places
from common.settings import UserError, relative


@dataclass(frozen=True)
class Notebook:
    """A notebook as its code describes it: the methods whose records it makes (its RUN_NAME first) and those it
    needs."""

    path: Path
    methods: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        return relative(self.path)


def find() -> list[Notebook]:
    """Every notebook of the study, each after those that make what it needs; stderr names what is none."""
    for path in places.strays():
        print(f"{path.as_posix()} is left out: no cell with a RUN_NAME can be read in it", file=sys.stderr)
    return in_order([read(places.ROOT / path) for path in places.notebook_paths()])


def read(path: Path) -> Notebook:
    """What a notebook makes and needs. Raises UserError where the file or its code cannot be read."""
    names = {name: value for name, value in defaults(path).items() if isinstance(value, str)}
    methods, needs = [names["RUN_NAME"]] if names.get("RUN_NAME") else [], []
    for cell in load(path).cells:
        if cell.cell_type != "code":
            continue
        try:
            nodes = list(ast.walk(ast.parse(cell.source)))
        except SyntaxError as error:
            raise UserError(f"{path}: a cell is no plain Python ({error.msg}); notebooks use no magics") from None
        for node in nodes:
            if isinstance(node, ast.Assign) and len(texts := _texts(node.value, names)) == 1:
                names |= {target.id: texts[0] for target in node.targets if isinstance(target, ast.Name)}
        for call in (node for node in nodes if isinstance(node, ast.Call)):
            function = getattr(call.func, "id", getattr(call.func, "attr", ""))
            for keyword in call.keywords:
                if (function, keyword.arg) == ("start_run", "needs"):
                    needs += _texts(keyword.value, names)
                elif (function, keyword.arg) == ("save", "method"):
                    methods += _texts(keyword.value, names)
    return Notebook(path.resolve(), tuple(dict.fromkeys(methods)), tuple(dict.fromkeys(needs)))


def _texts(node: ast.expr, names: Mapping[str, str]) -> list[str]:
    """The texts of a literal, a known name, an f-string, a tuple or a list; what is computed otherwise is not seen."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Name(id=name):
            return [names[name]] if name in names else []
        case ast.JoinedStr(values=parts):
            texts = [_texts(part.value if isinstance(part, ast.FormattedValue) else part, names) for part in parts]
            return ["".join(text for (text,) in texts)] if all(len(text) == 1 for text in texts) else []
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return [text for item in items for text in _texts(item, names)]
    return []


def in_order(notebooks: Sequence[Notebook]) -> list[Notebook]:
    """The notebooks, each after those among them that make what it needs. Raises UserError for a circle."""
    maker = {method: notebook for notebook in notebooks for method in notebook.methods}
    graph = {n.path: [maker[need].path for need in n.needs if need in maker] for n in notebooks}
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle = ", ".join(dict.fromkeys(path.name for path in error.args[1]))
        raise UserError(f"these notebooks need each other's results: {circle}; take one `needs` out") from None
    return sorted(notebooks, key=lambda n: order.index(n.path))


def defaults(path: Path) -> dict[str, object]:
    """A notebook's parameters with their default values, as they stand in its file."""
    load(path)
    return places.parameters(path)


def load(path: Path) -> nbformat.NotebookNode:
    """The notebook in a file. Raises UserError where there is none."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise UserError(f"there is no notebook {path}; `python -m common.study list` names them all") from None
    except Exception as error:  # nbformat has a dozen kinds
        raise UserError(f"{path} is no notebook ({type(error).__name__})") from None


def parameters_for(path: Path, texts: Mapping[str, str]) -> dict[str, object]:
    """What has to be injected: the texts in their parameters' types, without those that equal the default. A relative
    path counts from this process's folder, where the command was given; it is injected in full.

    A PROFILE that stands for the same profile as the default does is left out too, so that the executed notebook can
    be committed as it is. Raises UserError for an unknown name or a value of another type.
    """
    known = defaults(path)
    check_known(texts, [path])
    values = {name: _typed(name, text, known[name]) for name, text in texts.items()}
    if "PROFILE" in values and resolve(str(values["PROFILE"])) == resolve(str(known["PROFILE"])):
        del values["PROFILE"]
    return {name: value for name, value in values.items() if value != known[name]}


def check_known(names: Iterable[str], notebooks: Iterable[Path]) -> None:
    """Raises UserError for a name that is a parameter of none of the notebooks; papermill itself would only warn."""
    known = list(dict.fromkeys(name for path in notebooks for name in defaults(path)))
    if unknown := [name for name in names if name not in known]:
        choice = (
            f"choose from {', '.join(known)}" if known else "none of these notebooks has a cell tagged 'parameters'"
        )
        raise UserError(f"there is no parameter {', '.join(unknown)}; {choice}")


def _typed(name: str, text: str, default: object) -> object:
    if isinstance(default, str):
        return paths.parameter(name, text)
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not type(default):
        raise UserError(f"{name} wants a value like {default!r}, not '{text}'")
    return value
