"""Early stopping and the best checkpoint: evaluations by a script, kept weights compared with those of that step."""

from pathlib import Path

import pytest
import torch

from common import evaluation
from common.data import Example
from common.evaluation import answer_means
from common.generation import Completion
from common.prompts import prompt_ids
from common.settings import UserError
from common.training import session, sft
from common.training.losses import Loss
from common.training.recipe import Recipe
from common.training.sft import train_sft
from common.training.trainer import Clock, Stops, best_step

FOUR = {"evaluations": 4}  # after steps 2, 4, 6 and 8
MEANS = ("score", "match")


@pytest.fixture
def scripted(monkeypatch):
    """Runs a training whose evaluations find what the script says by step; (the run, trained tensors by step)."""
    now, weights = {"step": 0}, {}
    real, step_end = sft.completion_loss, Clock.on_step_end

    def end(self, args, state, control, model=None, **kwargs):
        now["step"] = state.global_step
        weights[now["step"]] = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        step_end(self, args, state, control, **kwargs)

    def run(losses, rows, loaded, recipe, folder, scores=None):
        def loss(*args, **kwargs):
            if torch.is_grad_enabled():
                return real(*args, **kwargs)
            return Loss(torch.tensor(losses[now["step"]], dtype=torch.float64), torch.tensor(1))

        monkeypatch.setattr(Clock, "on_step_end", end)
        monkeypatch.setattr(sft, "completion_loss", loss)
        if scores:
            monkeypatch.setattr(session, "answer_means", lambda *_, **__: dict.fromkeys(MEANS, scores[now["step"]]))
        return train_sft(loaded, *rows, recipe, folder=folder), weights

    return run


def trained_tensors(run, saved):
    """Saved tensors under the names that they had in training."""
    return {
        name.replace("lora_A", "lora_A.default").replace("lora_B", "lora_B.default"): tensor
        for name, tensor in saved(run.weights).items()
    }


@pytest.mark.parametrize(
    ("losses", "patience", "best", "last"),
    [
        ((5.0, 4.0, 3.0, 2.0), 0, 8, 8),
        ((5.0, 4.0, 3.0, 2.0), 1, 8, 8),
        ((5.0, 3.0, 4.0, 6.0), 0, 4, 8),  # nothing ends it, yet the best is kept
        ((5.0, 3.0, 4.0, 6.0), 2, 4, 8),
        ((5.0, 3.0, 4.0, 2.0), 2, 8, 8),  # the fourth is better yet
        ((5.0, 3.0, 4.0, 2.0), 1, 4, 6),  # it is never seen
        ((3.0, 4.0, 5.0, 6.0), 1, 2, 4),
        ((3.0, 4.0, 5.0, 2.0), 2, 2, 6),
        ((3.0, 4.0, 3.5, 3.9), 3, 2, 8),  # better than the one before is not better than the best
        ((3.0, 3.0, 3.0, 3.0), 0, 2, 8),  # of equals the earliest
        ((4.0, 3.0, 3.0, 3.0), 2, 4, 8),
        ((4.0, 3.0, 3.0, 3.0), 1, 4, 6),  # an equal one is not better
    ],
)
def test_the_best_weights_are_kept_and_patience_ends_the_training(
    losses, patience, best, last, scripted, rows, tiny, short, saved, tmp_path
):
    recipe = short.with_values({**FOUR, "patience": patience, "lora_targets": ["v_proj"]})
    script = dict(zip((2, 4, 6, 8), losses, strict=True))
    run, weights = scripted(script, rows, tiny(), recipe, tmp_path)
    assert (run.step, run.eval_loss) == (best, pytest.approx(script[best], abs=1e-9))
    assert max(weights) == last
    assert list(run.curve["eval_loss"].dropna()) == pytest.approx(list(losses[: last // 2]), abs=1e-9)
    assert list(run.curve["step"].unique()) == list(range(1, last + 1))
    assert run.rows == 8 * last
    kept = trained_tensors(run, saved)
    assert kept.keys() == weights[best].keys()
    assert all(torch.equal(tensor, weights[best][name]) for name, tensor in kept.items())
    same = [step for step, found in weights.items() if all(torch.equal(found[name], kept[name]) for name in kept)]
    assert same == [best]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["weights"]


@pytest.mark.parametrize("method", ["full", "prompt-random"])
def test_the_best_weights_are_those_that_are_handed_over(method, scripted, rows, tiny, short, tmp_path):
    recipe = short.with_values({**FOUR, "patience": 1, "method": method})
    run, weights = scripted({2: 5.0, 4: 3.0, 6: 4.0}, rows, tiny(), recipe, tmp_path)
    now = dict(run.loaded.model.named_parameters())
    assert run.step == 4 and max(weights) == 6
    assert all(torch.equal(now[name], tensor) for name, tensor in weights[4].items())
    assert not any(torch.equal(now[name], tensor) for name, tensor in weights[6].items())


@pytest.mark.parametrize("by", MEANS)
@pytest.mark.parametrize(
    ("scores", "patience", "best", "last"),
    [
        ((0.1, 0.5, 0.4, 0.3), 0, 4, 8),
        ((0.1, 0.5, 0.4, 0.3), 1, 4, 6),
        ((0.0, 0.0, 0.0, 0.0), 0, 2, 8),
        ((0.2, 0.4, 0.4, 0.1), 0, 4, 8),
        ((0.2, 0.1, 0.3, 0.9), 2, 8, 8),
    ],
)
def test_selection_by_answers_takes_the_highest_and_of_equals_the_earliest(
    by, scores, patience, best, last, scripted, rows, tiny, short, saved, tmp_path
):
    losses = {2: 9.0, 4: 8.0, 6: 7.0, 8: 6.0}
    recipe = short.with_values({**FOUR, "patience": patience, "select_by": by, "score_rows": 2})
    recipe = recipe.with_values({"lora_targets": ["v_proj"]})
    script = dict(zip((2, 4, 6, 8), scores, strict=True))
    run, weights = scripted(losses, rows, tiny(), recipe, tmp_path, script)
    assert (run.step, run.eval_loss, run.eval_score, run.eval_match) == (best, losses[best], *[script[best]] * 2)
    assert list(run.curve[f"eval_{by}"].dropna()) == list(scores[: last // 2])
    kept = trained_tensors(run, saved)
    assert all(torch.equal(tensor, weights[best][name]) for name, tensor in kept.items())


def test_selection_by_loss_looks_at_no_score(scripted, rows, tiny, short, tmp_path):
    recipe = short.with_values({**FOUR, "score_rows": 2, "lora_targets": ["v_proj"]})
    scores = {2: 0.9, 4: 0.1, 6: 0.2, 8: 0.3}
    run, _ = scripted({2: 5.0, 4: 3.0, 6: 4.0, 8: 6.0}, rows, tiny(), recipe, tmp_path, scores)
    assert (run.step, run.eval_loss, run.eval_score) == (4, 3.0, 0.1)


def test_a_training_that_got_worse_by_itself(rows, tiny, short, saved, tokens, tmp_path, loss_by_hand):
    """No script: at this rate the tiny model's validation loss falls and rises again."""
    recipe = short.with_values({**FOUR, "method": "full", "schedule": "constant_with_warmup", "patience": 2})
    run = train_sft(tiny(), *rows, recipe, folder=tmp_path)
    seen = dict(zip((2, 4, 6, 8), run.curve["eval_loss"].dropna(), strict=False))
    assert run.step == min(seen, key=seen.get) and run.step < max(seen)
    assert seen[max(seen)] > run.eval_loss + 0.05
    assert run.eval_loss == pytest.approx(loss_by_hand(run.loaded.model, tokens(rows[1])), abs=1e-5)
    assert run.eval_loss == seen[run.step]


@pytest.mark.parametrize(
    ("steps", "evaluations", "save_every", "looks", "saves"),
    [
        (8, 1, 0, {8}, set()),
        (8, 2, 3, {4, 8}, {3, 4, 6}),
        (10, 3, 0, {4, 7, 10}, {4, 7}),  # 3⅓ and 6⅔, rounded up
        (10, 4, 5, {3, 5, 8, 10}, {3, 5, 8}),
        (3, 8, 0, {1, 2, 3}, {1, 2}),  # more than there are steps: each step
        (100, 1, 50, {100}, {50}),
    ],
)
def test_evaluations_are_spread_evenly_and_checkpoints_follow_them(steps, evaluations, save_every, looks, saves):
    stops = Stops(Recipe(evaluations=evaluations, save_every=save_every), steps, Path("best"))
    found = {"looks": set(), "saves": set()}
    for step in range(1, steps + 1):
        control = type("Control", (), {})()
        stops.on_step_end(None, type("State", (), {"global_step": step}), control)
        found["looks"] |= {step} if control.should_evaluate else set()
        found["saves"] |= {step} if control.should_save else set()
    assert found == {"looks": looks, "saves": saves}


def test_best_step_of_a_log():
    log = [{"step": 1, "loss": 0.0}, {"step": 2, "eval_loss": 2.0, "eval_score": 0.1}, {"step": 3, "loss": 0.1}]
    log += [{"step": 4, "eval_loss": 1.0, "eval_score": 0.1}, {"step": 6, "eval_loss": 1.0, "eval_score": 0.0}]
    assert (best_step(log, "eval_loss"), best_step(log, "eval_score")) == (4, 2)


# The score


def test_the_first_validation_rows_are_answered_by_the_model_as_it_is(rows, tiny, short, tmp_path, monkeypatch):
    calls = []

    def look(loaded, examples, **decoding):
        calls.append((loaded.model.training, loaded.id, list(examples), decoding))
        return answer_means(loaded, examples, **decoding)

    monkeypatch.setattr(session, "answer_means", look)
    recipe = short.with_values({"score_rows": 3, "select_by": "score"})
    run = train_sft(tiny(), *rows, recipe, folder=tmp_path, max_new_tokens=5, batch_size=2, databases=2)
    decoding = {"max_new_tokens": 5, "batch_size": 2, "databases": 2}
    assert calls == [(False, tiny().id, rows[1][:3], decoding)] * 2
    assert {"score": run.eval_score, "match": run.eval_match} == answer_means(run.loaded, rows[1][:3], **decoding)
    assert list(run.curve["eval_score"].dropna())[0] >= 0


def test_no_rows_to_score_cost_nothing(rows, tiny, short, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "answer_means", lambda *_, **__: pytest.fail("asked for a score"))
    run = train_sft(tiny(), *rows, short.with_values({"evaluations": 1, "epochs": 1}), folder=tmp_path)
    assert run.eval_score is None and "eval_score" not in run.curve


def test_answer_means_by_hand(tiny, monkeypatch):
    """Right, wrong, and a reference that cannot be scored, which is left out: a mean over two."""
    schema = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);"
    examples = [Example("0", "How many then?", schema, "SELECT count(*) FROM t;")]
    examples.append(Example("1", "How many, if any, are there in all?", schema, "SELECT count(*) FROM t;"))
    examples.append(Example("2", "How many?", schema, "SELECT nothing FROM nowhere;"))
    loaded = tiny()
    order = [prompt_ids(example, loaded.tokenizer) for example in examples]
    texts = ["SELECT count(a) FROM t;", "", "SELECT count(*) FROM t;"]
    asked = []

    def answer(loaded, prompts, *, max_new_tokens, batch_size):
        asked.append((len(prompts), max_new_tokens, batch_size))
        return [Completion(texts[order.index(prompt)], 3) for prompt in prompts]

    monkeypatch.setattr(evaluation, "complete", answer)
    means = answer_means(loaded, examples, max_new_tokens=7, batch_size=2)
    assert means == {"score": pytest.approx(0.5), "match": 0.5}
    assert asked == [(3, 7, 2)]
    texts[1] = "SELECT count(*) FROM t"
    assert answer_means(loaded, examples, max_new_tokens=7, batch_size=3)["score"] == pytest.approx(1.0)
    with pytest.raises(UserError, match="^no validation row that is answered in training can be scored; set score_ro"):
        answer_means(loaded, examples[2:], max_new_tokens=7, batch_size=3)
