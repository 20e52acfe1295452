"""The bench of training by rewards: the same prompts in both loops, what is timed, its lines, and refused sizes."""

import json
import sys
import time
from dataclasses import replace

import pytest
import torch

from bench import grpo, grpo_run, tables
from bench.training_run import Mark
from common.data import load_examples
from common.models import load_model
from common.profiles import TINY_MODEL, resolve
from common.prompts import prompt_ids
from common.rewards import Rewards
from common.settings import UserError, run_cli
from tests.models import with_models

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS, STEPS, SLOW = 2, 2, 2.0  # SLOW: seconds that the reward of the first step takes longer


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[dict, list[list[str]]]]:
    """What each kind measured, and the ids of the examples of every call for rewards, those for databases first."""
    results, score = {}, Rewards.score
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT_TO_SQL_OUTPUTS", with_models(tmp_path_factory.mktemp("outputs")))
        patch.setattr(grpo_run, "resolve", lambda name: replace(resolve(name), max_new_tokens=8))
        for kind in grpo_run.KINDS:
            calls: list[list[str]] = []

            def spy(self, examples, completions, calls=calls):
                calls.append([example.id for example in examples])
                if len(calls) == 3:
                    time.sleep(SLOW)
                return score(self, examples, completions)

            patch.setattr(Rewards, "score", spy)
            run = grpo_run.measure(kind, model_id=TINY_MODEL, prompts=PROMPTS, steps=STEPS)
            results[kind] = run, calls
    return results


def test_both_loops_train_on_the_same_prompts_in_the_same_steps(runs):
    steps = {}
    for kind, (_, calls) in runs.items():
        assert len(calls) == 2 + 1 + STEPS
        assert all(len(call) == PROMPTS * 8 for call in calls[2:])
        assert all(call[at : at + 8] == [call[at]] * 8 for call in calls[2:] for at in (0, 8))
        steps[kind] = [sorted(set(call)) for call in calls[2:]]
        assert sorted(calls[1]) == sorted(sum(steps[kind], [])), "a prompt's databases were not made before"
    assert steps["trl"] == steps["ours"] == steps["ours-spread"]
    prompts = sum(steps["trl"], [])
    assert len(set(prompts)) == PROMPTS * (1 + STEPS)
    assert set(prompts) <= {example.id for example in load_examples("embedded", "post", limit=20)}


def test_a_step_is_sampling_reward_and_update_without_the_first(runs):
    for kind, (run, _) in runs.items():
        assert (run["completions"], run["model"].split()[0]) == (PROMPTS * 8, TINY_MODEL)
        assert run["seconds"] == pytest.approx(run["sampling"] + run["reward"] + run["update"])
        assert min(run["sampling"], run["reward"], run["update"], run["databases"], run["peak"]) > 0
        assert run["reward"] < SLOW / 4, "the first step's reward is in the mean"
        assert 0 < run["tokens"] <= run["max_new_tokens"] == 8
        # No answer of a random model is right: without the number for the place no group has a spread.
        assert run["groups"] == (0 if kind == "ours-spread" else 1)


def test_a_watch_leaves_classes_as_they_were():
    class Above:
        def work(self):
            return 1

    class Below(Above):
        pass

    before = Above.work
    with grpo_run.spans(Below, "work") as calls:
        assert Below().work() == 1 and Above().work() == 1
    assert len(calls) == 1 and "work" not in vars(Below)
    with grpo_run.spans(Above, "work") as calls:
        assert Below().work() == 1
    assert len(calls) == 1 and Above.work is before


def test_phases_by_hand():
    """Three steps that end at 10, 14 and 24 s; an evaluation lies between the second and the third."""
    calls = {
        "sampling": [(1, 8), (10, 11), (17, 19)],
        "reward": [(8, 9), (11, 11.5), (19, 20)],
        "evaluation": [(14, 17), (24, 30)],
    }
    assert grpo_run.phases([10, 14, 24], calls) == [
        {"sampling": 1, "reward": 0.5, "seconds": 4, "update": 2.5},
        {"sampling": 2, "reward": 1, "seconds": 7, "update": 4},
    ]


def test_a_group_without_spread_is_no_equal_work(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(grpo_run, "make_databases", lambda examples: 0.1)
    monkeypatch.setattr(grpo_run, "by_us", lambda *_: (1, [{"tokens": 5.0, "groups": share} for share in (1, 0.5)]))
    monkeypatch.setattr(grpo_run.Watch, "__exit__", lambda self, *_: self.marks.extend([Mark(1.0, 0, 0)] * 2))
    with pytest.raises(RuntimeError, match="a group has no spread"):
        grpo_run.measure("ours", model_id=TINY_MODEL, prompts=2, steps=1)


def test_trls_loop_reads_our_prompts_and_has_our_settings(tmp_path):
    loaded, settings = load_model(TINY_MODEL), grpo_run.recipe("trl", 4)
    examples, _ = grpo_run.rows(loaded, 4, settings.max_length)
    with Rewards(dict(settings.reward), functions=grpo_run.FUNCTIONS, workers=1) as rewards:
        trainer = grpo_run.trl_trainer(loaded, examples, settings, rewards, tmp_path, groups=2, max_new_tokens=8)
        values = trainer.reward_funcs[0](completions=["SELECT 1"] * 16, number=[0] * 8 + [1] * 8)
    assert [prompt_ids(e, loaded.tokenizer) for e in examples] == trainer._tokenize_prompts(
        [row["prompt"] for row in trainer.train_dataset]
    )[0]
    assert values == pytest.approx([place * grpo_run.PLACE for place in range(8)] * 2)
    args, drawn = trainer.args, trainer.generation_config
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps, args.max_steps) == (16, 2, 1)
    assert args.steps_per_generation == 2 and not args.activation_checkpointing and trainer.ref_model is None
    assert (drawn.max_new_tokens, drawn.temperature, drawn.top_p, drawn.do_sample) == (8, 1.0, 1.0, True)
    assert not drawn.top_k and not trainer.use_vllm and not trainer.use_transformers_continuous_batching
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32} and 64 in {p.shape[0] for p in trained}
    assert (args.loss_type, args.scale_rewards, args.learning_rate) == ("dapo", "batch", settings.learning_rate)


def run(seconds: float, **values) -> dict:
    parts = {"sampling": seconds / 4, "reward": seconds / 50, "update": seconds / 2, "tokens": 40.0, "groups": 1.0}
    return parts | {"seconds": seconds, "completions": 32, "databases": 0.1, "peak": 6e9} | values


def test_lines_have_their_ratios_behind_them_and_their_targets():
    runs = {
        "trl": [run(60.0), run(80.0)],
        "ours": [run(8.0, peak=3e9), run(6.0, peak=3e9)],
        "ours-spread": [run(4.0, groups=0.5, reward=0.01), run(4.0, groups=0.5, reward=0.01)],
    }
    lines = {line["name"]: line for line in grpo.lines_of(runs)}
    rates = {"trl": (32 / 60 + 32 / 80) / 2, "ours": (32 / 8 + 32 / 6) / 2, "ours-spread": 8}
    for kind, value in rates.items():
        assert lines[f"completions-{kind}"]["value"] == pytest.approx(value, rel=1e-5)
    assert lines["completions-trl"]["target"] is None
    assert lines["completions-ours"]["target"] == {"at_least": 2} and lines["completions-ours"]["met"]
    assert lines["speedup-ours"]["value"] == pytest.approx(rates["ours"] / rates["trl"], rel=1e-5)
    assert lines["speedup-ours"]["target"] == {"at_least": 8} and lines["speedup-ours"]["met"]
    assert lines["speedup-ours-spread"]["target"] is None
    assert lines["published-ours-spread"]["value"] == pytest.approx(8 / 1.4, rel=1e-5)
    assert (lines["reward-share-ours"]["value"], lines["reward-share-ours"]["met"]) == (2, False)
    assert (lines["reward-share-ours-spread"]["value"], lines["reward-share-ours-spread"]["met"]) == (0.25, True)
    assert (lines["seconds-trl"]["value"], lines["sampling-trl"]["value"], lines["update-trl"]["value"]) == (
        70,
        17.5,
        35,
    )
    assert (lines["memory-ours"]["value"], lines["memory-ratio-ours"]["value"]) == (3000, 0.5)
    assert lines["groups-ours-spread"]["value"] == 50 and lines["databases"]["repetitions"] == 6
    names = list(lines)
    assert names[names.index("completions-ours") + 1 :][:2] == ["speedup-ours", "published-ours"]
    assert names[names.index("memory-ours") + 1] == "memory-ratio-ours"


def test_the_fastest_micro_batch_of_trls_that_there_is_memory_for_counts(monkeypatch):
    calls = []

    def run(kind, *, model, prompts, steps, groups):
        calls.append((kind, groups, steps))
        return {"completions": 32, "seconds": {1: 4.0, 2: 2.0, 4: 3.0}[groups], "peak": 3e9 * groups}

    monkeypatch.setattr(grpo, "run", run)
    monkeypatch.setattr(grpo, "room", lambda model: 20e9)
    assert grpo.rates_by_groups(model="", prompts=4) == {1: 8, 2: 16, 4: pytest.approx(32 / 3)}
    assert calls == [("trl", 1, 1), ("trl", 2, 1), ("trl", 4, 1)]
    assert list(grpo.rates_by_groups(model="", prompts=6)) == [1, 2]
    monkeypatch.setattr(grpo, "room", lambda model: 7e9)
    assert list(grpo.rates_by_groups(model="", prompts=4)) == [1, 2]
    monkeypatch.setattr(grpo, "room", lambda model: 0)  # the system does not say
    assert list(grpo.rates_by_groups(model="", prompts=4)) == [1, 2, 4]


@pytest.mark.parametrize("sizes", [["--prompts", "0"], ["--steps", "0"], ["--repetitions", "-1"]], ids=str)
def test_sizes_that_leave_nothing_to_time_end_in_one_line(sizes, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["grpo", *sizes])
    with pytest.raises(SystemExit) as stop:
        run_cli(grpo.main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error == f"error: {' '.join(sizes)} measures nothing; give at least 1\n"


def test_too_few_prompts_are_refused():
    with pytest.raises(UserError, match="0 prompts fit in 5 tokens, 4 are needed; give fewer"):
        grpo_run.rows(load_model(TINY_MODEL), 4, 5)


@pytest.mark.slow
def test_processes_of_their_own_make_a_record(tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match="there is no model folder './none'"):
        grpo.run("ours", model="./none", prompts=1, steps=1)
    path = tmp_path / "results" / "bench" / "grpo.json"
    sizes = ["--prompts", "1", "--steps", "1", "--repetitions", "1", "--out", str(path)]
    monkeypatch.setattr(sys, "argv", ["grpo", "--model", TINY_MODEL, *sizes])
    grpo.main()
    record = json.loads(path.read_text())
    assert not tables.missing_keys(record) and record["name"] == "grpo"
    assert {name: record["data"][name] for name in ("prompts", "steps", "groups")} == {
        "prompts": 1,
        "steps": 1,
        "groups": 1,
    }
    values = {line["name"]: line["value"] for line in record["measurements"]}
    assert all(value > 0 for name, value in values.items() if name != "groups-ours-spread")
    assert "8 a micro-batch, of 8 the fastest" in record["notes"][1]
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()[1:]] == ["trl:", "ours:", "ours-spread:"]
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path / "results"))
    assert "| grpo: GRPO, ours: completions, against TRL's loop |" in tables.ratios()
