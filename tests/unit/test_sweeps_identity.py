"""What a sweep's id names, and the text that brings a sweep to another machine."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from common import provenance
from common.settings import UserError
from common.sweeps import Sweep, search, sweep
from common.sweeps.space import SPACES
from common.training.recipe import Recipe
from tests.unit import sweep_cases
from tests.unit.sweep_cases import SPACE, STAGES, line_of, outcome
from tests.unit.sweep_recipes import ROOT, copy_of_the_code, pairwise

lab = sweep_cases.lab
TRAINER = "common.training.sft"


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The module of a second recipe."""
    with pairwise(tmp_path_factory.mktemp("second")) as module:
        yield module


def test_an_id_names_all_that_a_result_depends_on(lab, monkeypatch):
    plan = lab.sweep
    monkeypatch.setattr(sweep, "_data_revision", lambda source: f"revision of {source}")
    assert plan.id == replace(plan).id and plan.id.startswith("sft-lora-")
    others = [
        *({"recipe": Recipe(epochs=2)}, {"stages": STAGES[:2]}, {"model_id": "other"}, {"precision": "bfloat16"}),
        *({"space": SPACE | {"lora_rank": (4, 8)}}, {"seed": 2}, {"first": {}}, {"data": "gretel"}),
        *({"recipe": Recipe(score_rows=8), "rank_by": "score"}, {"recipe": Recipe(score_rows=8)}),
        *({"model_revision": "0123abc"}, {"max_new_tokens": 24}, {"databases": 4}),
    ]
    ids = {replace(plan, **changes).id for changes in others}
    ids |= {plan.id}
    monkeypatch.setattr(sweep, "_basis", lambda trainer, root: "other code")
    ids |= {plan.id}
    monkeypatch.setattr(sweep, "_data_revision", lambda source: "of the day after")
    assert len(ids | {plan.id}) == len(others) + 3


def changed_id(folder, monkeypatch, lines: dict[str, str]) -> str:
    """The id of the plan where modules have one line more at their end."""
    root = copy_of_the_code(folder)
    for name, line in lines.items():
        path = root.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        path.write_text(f"{path.read_text()}\n{line}\n")
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "ROOT", root)
        return lab_id()


def test_any_change_of_code_in_the_closure_changes_the_id_and_none_outside_does(tmp_path, monkeypatch):
    closure = list(provenance.closure(TRAINER, "common.sweeps.searching"))
    for number, name in enumerate((TRAINER, "common.sweeps.objective", "common.sweeps.result", "common.prompts")):
        assert name in closure
        assert changed_id(tmp_path / str(number), monkeypatch, {name: "x = 1"}) != lab_id(), name
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("common/**/*.py")}
    outside = [name for name in modules if not name.endswith("__init__") and name not in closure]
    assert {"common.display", "common.study.execute", "common.sweeps.__main__"} <= set(outside)
    lines = dict.fromkeys(outside, "x = 1") | dict.fromkeys(closure, "# nothing runs differently")
    assert changed_id(tmp_path / "outside", monkeypatch, lines) == lab_id()


def lab_id() -> str:
    return sweep_cases.PLAN.id


def test_another_version_of_a_package_changes_the_id(tmp_path, monkeypatch):
    real, root = provenance.packages, copy_of_the_code(tmp_path)  # ids are remembered by the folder of the code
    assert {"torch", "trl", "optuna"} <= set(real(TRAINER, "common.sweeps.searching"))
    monkeypatch.setattr(sweep, "ROOT", root)
    monkeypatch.setattr(provenance, "packages", lambda *names, **parts: real(*names, **parts) | {"torch": "9.9.9"})
    other = lab_id()
    monkeypatch.undo()
    assert lab_id() != other


def test_the_trainer_of_another_recipe_is_in_its_ids_alone(lab, second, monkeypatch, tmp_path):
    plan = replace(lab.sweep, recipe=second.Pairwise())
    assert plan.id != lab_id()
    before = plan.id, lab_id()
    root = copy_of_the_code(tmp_path)
    path = root / "common" / "training" / "pairwise.py"
    path.write_text(f"{(sweep.ROOT / 'common/training/pairwise.py').read_text()}\nx = 1\n")
    monkeypatch.setattr(sweep, "ROOT", root)
    assert (plan.id == before[0], lab_id() == before[1]) == (False, True)


def test_a_sweep_survives_the_way_to_another_machine(lab):
    for method, grid in SPACES.items():
        plan = replace(lab.sweep, recipe=Recipe(method=method, betas=(0.95, 0.999)), space=grid, first={})
        again = Sweep.from_json(plan.to_json())
        assert again == plan and list(again.space) == list(plan.space) and again.id == plan.id
    assert Sweep.from_json(lab.sweep.to_json()) == lab.sweep


def test_a_recipe_of_another_class_survives_it_too(lab, second):
    grid = {"beta": (0.1, 0.3), "reference_free": (True, False), "learning_rate": (1e-5, 1e-4)}
    plan = replace(lab.sweep, recipe=second.Pairwise(beta=0.5), space=grid, first={"beta": 0.3})
    again = Sweep.from_json(plan.to_json())
    assert again == plan and type(again.recipe) is second.Pairwise and again.id == plan.id
    result = search(again, objective=lambda s, c: outcome(c, loss=abs(c.recipe.beta - 0.3) + c.recipe.reference_free))
    assert (result.recipe.beta, result.recipe.reference_free) == (0.3, False)
    assert type(result.recipe) is second.Pairwise and result.trials.beta[0] == 0.3


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"beta": ("strong",)}, "'beta' holds 'strong'; give values such as 0.1"),
        ({"reference_free": (0, 1)}, "'reference_free' holds 0; give values such as False"),
        ({"gamma": (0.1,)}, "names 'gamma', which is not searched; choose from .*beta, reference_free"),
        ({"module": ("common.training.sft",)}, "names 'module', which is not searched"),
    ],
)
def test_the_fields_of_a_recipes_own_class_are_searched_by_their_defaults(lab, second, space, says):
    with pytest.raises(UserError, match=says) as error:
        replace(lab.sweep, recipe=second.Pairwise(), space=space, first={})
    line_of(error)
    with pytest.raises(UserError, match="names 'beta', which is not searched"):
        replace(lab.sweep, space={"beta": (0.1,)}, first={})


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "subprocess.Popen", "common.settings.UserError", "common.sweeps.sweep.Sweep", "Recipe", ""),
        *("common.training.recipe.UserError", "common.training.recipe.METHODS", "common.training.recipe.Nothing"),
        *("common.training.nowhere.Recipe", "common.training..recipe.Recipe", "common.training.Recipe"),
        "common.training.recipe.Recipe.with_values",
        "common.training.estimate.Recipe",  # the class has one name
    ],
)
def test_a_text_that_names_any_other_class_is_refused(lab, name):
    facts = json.loads(lab.sweep.to_json())
    with pytest.raises(UserError, match="which this code does not have; check out its commit") as error:
        Sweep.from_json(json.dumps(facts | {"recipe_class": name}))
    line_of(error)


def test_a_text_imports_no_module_but_those_of_trainings(lab):
    facts = json.loads(lab.sweep.to_json()) | {"recipe_class": "antigravity.Recipe"}
    code = (
        "import sys\nfrom common.sweeps import Sweep\nfrom common.settings import UserError\n"
        "try:\n    Sweep.from_json(sys.argv[1])\nexcept UserError:\n    print('antigravity' in sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, json.dumps(facts)], capture_output=True, text=True, check=True
    )
    assert process.stdout == "False\n"
