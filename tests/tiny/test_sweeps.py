"""The search with real training on the tiny model: each fault of the published study's sweeps would be seen here."""

import json
import math
from dataclasses import replace

import pytest
import torch
from transformers.trainer_callback import CallbackHandler

from common.data import load_examples
from common.models import base_digest, load_model
from common.profiles import TINY_MODEL, Stage
from common.settings import UserError
from common.sweeps import Sweep, objective, search
from common.training import sft
from common.training.adapters import adapt
from common.training.recipe import Recipe
from common.training.rows import tokenise

STAGES = (Stage(8, 4, 3), Stage(12, 5, 2), Stage(16, 6, 1))
RATES = {
    "full": (1e-3, 3e-3, 1e-2),
    "lora": (1e-3, 3e-3, 1e-2),
    "qlora": (1e-3, 3e-3, 1e-2),
    "prompt-random": (3e-3, 1e-2, 3e-2),
    "prompt-text": (3e-3, 1e-2, 3e-2),
}
BROKEN = 1e-8  # the published learning rate of prompt tuning, at which nothing moves


def plan(method: str, **recipe) -> Sweep:
    facts = {"effective_batch_size": 4, "save_every": 1, "lora_rank": 4, "lora_alpha": 8, "virtual_tokens": 8}
    facts |= {"evaluations": 2, "patience": 1}  # for the last stage; a trial of the search is evaluated once
    return Sweep(
        *(f"sft-{method}", Recipe(method=method, **facts | recipe), {"learning_rate": RATES[method]}, STAGES),
        *(TINY_MODEL, "float32", "embedded"),
        seed=7,
    )


@pytest.fixture(scope="module", autouse=True)
def untracked():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        yield


def watch(patch: pytest.MonkeyPatch) -> list[dict]:
    """The arguments of each training from now on, and its result."""
    calls, real = [], sft.train

    def watched(loaded, train, valid, recipe, *, folder, **options):
        call = {"base": base_digest(loaded.model), "train": train, "valid": valid, "recipe": recipe, "folder": folder}
        call["trained"] = real(loaded, train, valid, recipe, folder=folder, **options)
        calls.append(call)
        return call["trained"]

    patch.setattr(sft, "train", watched)
    return calls


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A storage of its own, and what is trained."""
    monkeypatch.setenv("SWEEP_STORAGE", f"journal:{tmp_path / 'sweeps.journal'}")
    return watch(monkeypatch)


@pytest.fixture(scope="module", params=RATES)
def whole(request, tmp_path_factory):
    """A search by each method: the method, its result, and its trainings."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        calls = watch(patch)
        result = search(plan(request.param, epochs=3), storage=f"journal:{folder / 'sweeps.journal'}")
    return request.param, result, calls


def test_every_trial_starts_from_the_base_weights(whole):
    method, result, calls = whole
    ids = [f"sft-{method}-s{stage}-0{i}" for stage, i in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1))]
    assert list(result.trials.trial) == ids and len(calls) == 5
    fresh = load_model(TINY_MODEL, quantisation=plan(method).recipe.quantisation)
    assert {call["base"] for call in calls} == {base_digest(fresh.model)}
    assert not any(call["folder"].exists() for call in calls)


def test_every_trial_sees_its_stages_rows(whole):
    _, result, calls = whole
    rows = [
        (
            load_examples("embedded", "train", limit=stage.train_rows),
            load_examples("embedded", "validation", limit=stage.valid_rows),
        )
        for stage in STAGES
    ]
    assert [(call["train"], call["valid"]) for call in calls] == [rows[0]] * 3 + [rows[1]] * 2
    assert list(result.trials.train_rows) == [8, 8, 8, 12, 12] and list(result.trials.valid_rows) == [4, 4, 4, 5, 5]
    fresh = load_model(TINY_MODEL)
    one, two = (sum(len(row["input_ids"]) for row in tokenise(of, fresh, max_length=1024)) for of, _ in rows[:2])
    assert list(result.trials.tokens) == [3 * one] * 3 + [3 * two] * 2, "three epochs each, the same for all"
    assert [stage["tokens"] for stage in result.stages] == [9 * one, 6 * two]


@torch.no_grad()
def losses(model, rows: list[dict]) -> tuple[float, float]:
    """(mean loss over the completions' tokens, mean loss over all tokens), row by row and by hand."""
    sums, counts = [0.0, 0.0], [0, 0]
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        logits = model(input_ids=ids).logits[0, -len(row["input_ids"]) :]  # behind any virtual tokens
        each = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
        for which, mask in enumerate((labels[1:] != -100, torch.ones_like(labels[1:], dtype=torch.bool))):
            sums[which] += each[mask].sum().item()
            counts[which] += int(mask.sum())
    return sums[0] / counts[0], sums[1] / counts[1]


def test_candidates_are_ranked_by_the_loss_over_completions(whole):
    method, result, calls = whole
    apart = []
    for call, loss in zip(calls, result.trials.loss, strict=True):
        loaded = call["trained"].loaded
        completion, everything = losses(loaded.model, tokenise(call["valid"], loaded, max_length=1024))
        tolerance = 1e-3 if method == "qlora" else 1e-4  # 4-bit layers round by the batch's shape
        assert loss == pytest.approx(completion, abs=tolerance)
        apart.append(abs(everything - completion))
    assert max(apart) > 10 * tolerance, "or this test could not tell the two apart"
    # No answers are generated on the way, and what is evaluated is the last step.
    assert all(call["recipe"].score_rows == 0 and call["recipe"].evaluations == 1 for call in calls)
    one = result.trials[result.trials.stage == 1]
    assert list(one.sort_values("loss").promoted) == [True, True, False]
    assert one.loss.max() - one.loss.min() > 1e-3, "or there would be nothing to rank"


# Virtual tokens lie beside the model, so prompt tuning leaves a shared one as it was.
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_that_trials_share_is_refused(place, monkeypatch, method):
    shared = load_model(TINY_MODEL)
    monkeypatch.setattr(objective, "load_model", lambda *_, **__: shared)  # the published fault
    with pytest.raises(UserError, match="s1-01 would start from other weights than the earlier trials") as error:
        search(plan(method))
    assert "\n" not in str(error.value) and len(place) == 1


def test_a_digest_sees_the_last_bit_of_any_weight():
    model = load_model(TINY_MODEL).model
    before = base_digest(model)
    assert base_digest(load_model(TINY_MODEL).model) == before
    weight = model.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight[-1, -1] = torch.nextafter(weight[-1, -1], torch.tensor(9.0))
    assert base_digest(model) != before


def test_a_digest_sees_packed_weights_and_what_unpacks_them():
    digests = [base_digest(load_model(TINY_MODEL, quantisation="nf4").model)]
    for change in ("packed", "scale"):
        model = load_model(TINY_MODEL, quantisation="nf4").model
        weight = model.model.layers[0].self_attn.q_proj.weight
        with torch.no_grad():
            if change == "packed":
                weight.data.view(-1)[0] ^= 1
            else:
                weight.quant_state.offset += 1e-3
        digests.append(base_digest(model))
    assert len(set(digests)) == 3


def prompt_of(model) -> torch.Tensor:
    return next(p for name, p in model.named_parameters() if "prompt_encoder" in name).detach().clone()


def untrained(call: dict):
    """The model of a training before its first step."""
    torch.manual_seed(call["recipe"].seed)
    return adapt(load_model(TINY_MODEL), call["recipe"])


def moved(call: dict) -> float:
    """How far the virtual token's number that moved most has moved."""
    return (prompt_of(call["trained"].loaded.model) - prompt_of(untrained(call))).abs().max().item()


@pytest.mark.parametrize("whole", ["prompt-random", "prompt-text"], indirect=True)
def test_prompts_are_really_trained(whole):
    _, result, calls = whole
    for call, loss in zip(calls, result.trials.loss, strict=True):
        assert moved(call) > 1e-3
        rows = tokenise(call["valid"], call["trained"].loaded, max_length=1024)
        assert loss < losses(untrained(call), rows)[0] - 5e-3


def test_at_the_published_learning_rate_no_prompt_would_count_as_trained(place):
    stages = (Stage(8, 4, 1), Stage(8, 4, 1))
    search(replace(plan("prompt-random"), space={"learning_rate": (BROKEN,)}, stages=stages))
    assert moved(place[0]) < 1e-5, "two orders below what the test above asks for"


def test_a_stopped_trial_goes_on_from_its_checkpoint(place, monkeypatch, tmp_path):
    whole = search(plan("lora"), storage=f"journal:{tmp_path / 'whole'}")
    steps, real = [], CallbackHandler.on_step_end

    def on_step_end(self, args, state, control):
        steps.append(state.global_step)
        return real(self, args, state, control)

    def stop(self, args, state, control):
        if state.global_step == 2 and "s1-01." in args.output_dir:
            raise KeyboardInterrupt
        return on_step_end(self, args, state, control)

    monkeypatch.setattr(CallbackHandler, "on_step_end", stop)
    with pytest.raises(KeyboardInterrupt):
        search(plan("lora"))
    assert steps == [1, 2, 1], "the first trial's two steps, and one of the second"
    steps.clear()
    monkeypatch.setattr(CallbackHandler, "on_step_end", on_step_end)
    result = search(plan("lora"))
    assert steps == [2, 1, 2] + 2 * [1, 2, 3], "the second trial's other step first"
    assert result.trials.drop(columns="seconds").equals(whole.trials.drop(columns="seconds"))
    assert result.recipe == whole.recipe


def test_a_real_divergence_costs_the_trial_and_not_the_search(place):
    rates = (1e-3, 3e38)  # the second step leaves the range of float32
    stages = (Stage(8, 4, 2), Stage(8, 4, 1))
    result = search(replace(plan("full", epochs=2), space={"learning_rate": rates}, stages=stages))
    losses = dict(zip(result.trials.learning_rate, result.trials.loss, strict=True))
    assert losses[3e38] == math.inf and math.isfinite(losses[1e-3])
    assert result.recipe.learning_rate == 1e-3
    assert "1 of 2 candidates of stage 1 diverged" in result.notes[0]


@pytest.fixture
def file(tmp_path) -> str:
    """A file of one's own with 16 rows to train on and 2 to validate on."""
    rows = load_examples("embedded", "train", limit=20)
    cells = [{"sql_prompt": row.question, "sql_context": row.schema, "sql": row.sql} for row in rows]
    splits = ["train"] * 16 + ["validation"] * 2 + ["test"] * 2
    table = [row | {"split": split} for row, split in zip(cells, splits, strict=True)]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(table))
    return str(path)


def test_stages_are_no_larger_than_the_data(file):
    stages = (Stage(12, 1, 3), Stage(4096, 1024, 2), Stage(97_500, 2_500, 1))
    smaller = objective.prepared(replace(plan("lora"), data=file, stages=stages))
    assert smaller.stages == (Stage(12, 1, 3), Stage(16, 2, 2), Stage(16, 2, 1))
    assert objective.prepared(smaller) == smaller  # what another worker begins with


def test_stages_of_the_same_rows_find_the_same_losses(place, file):
    stages = (Stage(64, 8, 2), Stage(128, 16, 1), Stage(384, 64, 1))
    result = search(replace(plan("full"), data=file, stages=stages))
    assert [(s["train_rows"], s["valid_rows"], s["trials"]) for s in result.stages] == [(16, 2, 2), (16, 2, 1)]
    losses = {stage: set(trials.loss) for stage, trials in result.trials.groupby("stage")}
    assert losses[2] == {min(losses[1])} and len(losses[1]) == 2
    assert set(result.trials.train_rows) == {16} and set(result.trials.valid_rows) == {2}


def test_data_without_rows_for_a_stage_are_refused_before_anything_is_trained(place, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"sql_prompt": "q", "sql_context": "s", "sql": "x", "split": "train"}\n')
    says = f"^sft-lora cannot have its rows: {path} has no rows in split 'validation'"
    with pytest.raises(UserError, match=says) as error:
        search(replace(plan("lora"), data=str(path)))
    assert "\n" not in str(error.value) and not place
