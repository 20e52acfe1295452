"""The search with real training on the tiny model: each fault of the published study's sweeps would be seen here."""

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
    told = {"effective_batch_size": 4, "save_every": 1, "lora_rank": 4, "lora_alpha": 8, "virtual_tokens": 8}
    told |= {"evaluations": 2, "patience": 1}  # for the last stage; a trial of the search is evaluated once
    return Sweep(
        *(f"sft-{method}", Recipe(method=method, **told | recipe), {"learning_rate": RATES[method]}, STAGES),
        *(TINY_MODEL, "float32", "embedded"),
        seed=7,
    )


@pytest.fixture(scope="module", autouse=True)
def untracked():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        yield


def watch(patch: pytest.MonkeyPatch) -> list[dict]:
    """What each training from now on is given and what it makes."""
    seen, real = [], objective.train_sft

    def watched(loaded, train, valid, recipe, *, folder):
        call = {"base": base_digest(loaded.model), "train": train, "valid": valid, "recipe": recipe, "folder": folder}
        call["trained"] = real(loaded, train, valid, recipe, folder=folder)
        seen.append(call)
        return call["trained"]

    patch.setattr(objective, "train_sft", watched)
    return seen


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A storage of its own, and what is trained."""
    monkeypatch.setenv("SWEEP_STORAGE", f"journal:{tmp_path / 'sweeps.journal'}")
    return watch(monkeypatch)


@pytest.fixture(scope="module", params=RATES)
def whole(request, tmp_path_factory):
    """A search by each method: the method, what it found, and its trainings."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        calls = watch(patch)
        found = search(plan(request.param, epochs=3), storage=f"journal:{folder / 'sweeps.journal'}")
    return request.param, found, calls


def test_every_trial_starts_from_the_base_weights(whole):
    method, found, calls = whole
    ids = [f"sft-{method}-s{stage}-0{i}" for stage, i in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1))]
    assert list(found.trials.trial) == ids and len(calls) == 5
    fresh = load_model(TINY_MODEL, quantisation=plan(method).recipe.quantisation)
    assert {call["base"] for call in calls} == {base_digest(fresh.model)}
    assert not any(call["folder"].exists() for call in calls)


def test_every_trial_sees_its_stages_rows(whole):
    _, found, calls = whole
    rows = [
        (
            load_examples("embedded", "train", limit=stage.train_rows, seed=7),
            load_examples("embedded", "validation", limit=stage.valid_rows, seed=7),
        )
        for stage in STAGES
    ]
    assert [(call["train"], call["valid"]) for call in calls] == [rows[0]] * 3 + [rows[1]] * 2
    assert list(found.trials.train_rows) == [8, 8, 8, 12, 12] and list(found.trials.valid_rows) == [4, 4, 4, 5, 5]
    fresh = load_model(TINY_MODEL)
    one, two = (sum(len(row["input_ids"]) for row in tokenise(of, fresh, max_length=1024)) for of, _ in rows[:2])
    assert list(found.trials.tokens) == [3 * one] * 3 + [3 * two] * 2, "three epochs each, the same for all"
    assert [stage["tokens"] for stage in found.stages] == [9 * one, 6 * two]


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
    method, found, calls = whole
    apart = []
    for call, loss in zip(calls, found.trials.loss, strict=True):
        loaded = call["trained"].loaded
        completion, everything = losses(loaded.model, tokenise(call["valid"], loaded, max_length=1024))
        tolerance = 1e-3 if method == "qlora" else 1e-4  # 4-bit layers round by the batch's shape
        assert loss == pytest.approx(completion, abs=tolerance)
        apart.append(abs(everything - completion))
    assert max(apart) > 10 * tolerance, "or this test could not tell the two apart"
    # No answers are generated on the way, and what is evaluated is the last step.
    assert all(call["recipe"].score_rows == 0 and call["recipe"].evaluations == 1 for call in calls)
    one = found.trials[found.trials.stage == 1]
    assert list(one.sort_values("loss").promoted) == [True, True, False]
    assert one.loss.max() - one.loss.min() > 1e-3, "or there would be nothing to rank"


# Virtual tokens lie beside the model, so prompt tuning leaves a shared one as it was.
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_that_trials_share_is_refused(place, monkeypatch, method):
    held = load_model(TINY_MODEL)
    monkeypatch.setattr(objective, "load_model", lambda *_, **__: held)  # the published fault
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
    _, found, calls = whole
    for call, loss in zip(calls, found.trials.loss, strict=True):
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

    def stopped(self, args, state, control):
        if state.global_step == 2 and args.output_dir.endswith("s1-01"):
            raise KeyboardInterrupt
        return on_step_end(self, args, state, control)

    monkeypatch.setattr(CallbackHandler, "on_step_end", stopped)
    with pytest.raises(KeyboardInterrupt):
        search(plan("lora"))
    assert steps == [1, 2, 1], "the first trial's two steps, and one of the second"
    steps.clear()
    monkeypatch.setattr(CallbackHandler, "on_step_end", on_step_end)
    found = search(plan("lora"))
    assert steps == [2, 1, 2] + 2 * [1, 2, 3], "the second trial's other step first"
    assert found.trials.drop(columns="seconds").equals(whole.trials.drop(columns="seconds"))
    assert found.recipe == whole.recipe


def test_a_real_divergence_costs_the_trial_and_not_the_search(place):
    rates = (1e-3, 3e38)  # the second step leaves the range of float32
    stages = (Stage(8, 4, 2), Stage(8, 4, 1))
    found = search(replace(plan("full", epochs=2), space={"learning_rate": rates}, stages=stages))
    losses = dict(zip(found.trials.learning_rate, found.trials.loss, strict=True))
    assert losses[3e38] == math.inf and math.isfinite(losses[1e-3])
    assert found.recipe.learning_rate == 1e-3
    assert "1 of 2 candidates of stage 1 diverged" in found.notes[0]


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ((Stage(8, 4, 2), Stage(20_001, 4, 1)), "stage 2 of sft-lora cannot have its rows: embedded has 20000 rows"),
        ((Stage(8, 2501, 2), Stage(8, 4, 1)), "stage 1 of sft-lora cannot have its rows: .*2501 were asked for"),
    ],
)
def test_a_stage_larger_than_the_data_is_refused_before_anything_is_trained(place, stages, says):
    with pytest.raises(UserError, match=says) as error:
        search(replace(plan("lora"), stages=stages))
    assert "\n" not in str(error.value) and not place
