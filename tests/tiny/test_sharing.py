"""What processes share, without processes: each is played in turn. Real ones are in test_multi.py."""

import contextlib
import runpy
import sys
from pathlib import Path

import pytest

from common import distributed, evaluation
from common.generation import Completion, complete
from common.prompts import prompt_ids
from common.settings import UserError
from common.training.plan import check_processes, with_dummies
from common.training.recipe import Recipe

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "train_multi_gpu.py"


class OthersAnswer(Exception):
    """A process that waits for the answers of others, which are played later."""


def in_turns(monkeypatch, world: int, action) -> list:
    """What `action` returns in the last of `world` processes, which has what all others have handed in; and that."""
    shares = []

    def gathered(share):
        shares.append(share)
        if len(shares) < world:
            raise OthersAnswer
        return shares

    monkeypatch.setattr(distributed, "gathered", gathered)
    monkeypatch.setattr(distributed, "from_main", lambda make: make())
    monkeypatch.setattr(distributed, "world", lambda: world)
    result = None
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        with contextlib.suppress(OthersAnswer):
            result = action()
    return [result, shares]


def test_answer_means_are_those_of_one_process(rows, tiny, monkeypatch):
    loaded, examples, counts = tiny(), rows[0][:10], []
    # Every third answer is right, the others share words with the reference.
    answers = {
        tuple(prompt_ids(e, loaded.tokenizer)): (e.sql, f"SELECT {e.sql}")[i % 3 > 0] for i, e in enumerate(examples)
    }

    def complete(loaded, prompts, **_):
        counts.append(len(prompts))
        return [Completion(answers[tuple(prompt)], 1) for prompt in prompts]

    monkeypatch.setattr(evaluation, "complete", complete)

    def score() -> dict[str, float]:
        return evaluation.answer_means(loaded, examples, max_new_tokens=4, batch_size=4)

    alone = score()
    assert 0.4 < alone["score"] < 1 and alone["match"] == 0.4 and counts == [10]
    result, shares = in_turns(monkeypatch, 2, score)
    assert result == alone and [len(share) for share in shares] == [5, 5] and counts[1:] == [5, 5]


def test_answers_are_those_of_one_process_whatever_was_stopped_or_shared_before(rows, talking, tmp_path, monkeypatch):
    loaded, examples, counts = talking(), rows[0][:10], []

    def watch(loaded, prompts, **options):
        counts.append(len(prompts))
        return complete(loaded, prompts, **options)

    monkeypatch.setattr(evaluation, "complete", watch)

    def evaluate():
        return evaluation.evaluate(loaded, {"test": examples}, folder=tmp_path, max_new_tokens=12, batch_size=3)

    alone = evaluate()
    assert len({row["completion"] for row in alone.rows}) > 7
    report, shares = in_turns(monkeypatch, 3, evaluate)
    assert report.rows == alone.rows and counts == [10, 4, 3, 3]
    assert [sorted(share) for share in shares] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    assert report.seconds == max(sum(answer.seconds for answer in share.values()) for share in shares)
    # The second process is stopped in its second answer and started again with the others.
    path = tmp_path / "completions-1-of-3.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]) + b'{"row": 4')
    counts.clear()
    assert in_turns(monkeypatch, 3, evaluate)[0].rows == alone.rows and counts == [0, 2, 0]
    # Another number of processes.
    assert in_turns(monkeypatch, 2, evaluate)[0].rows == alone.rows and counts[3:] == [5, 5]


def test_micro_batches_that_do_not_go_into_the_processes_are_refused():
    recipe = Recipe(effective_batch_size=8, per_device_train_batch_size=2)
    check_processes(recipe, 4, sharded=False)
    assert with_dummies([[3], [1, 2], [0], [4], [5]], 4) == [[3], [1, 2], [0], [4], [5], [], [], []]
    with pytest.raises(UserError, match="^3 processes cannot share the 4 micro-batches .* a multiple of 6 rows$"):
        check_processes(recipe, 3, sharded=False)
    check_processes(recipe, 2, sharded=True)
    for values in ({"method": "prompt-text"}, {"optimizer": "adamw_8bit"}):
        with pytest.raises(UserError, match="^sharding trains by full or lora and with torch's optimisers, not by "):
            check_processes(recipe.with_values(values), 2, sharded=True)


@pytest.mark.parametrize("argument, said", [("--batch seven", "invalid int value: 'seven'"), ("--bach 8", "--bach 8")])
def test_a_wrong_argument_ends_in_one_line(argument, said, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *argument.split()])
    with pytest.raises(UserError, match=f"{said}.*; --help lists the arguments$"):
        runpy.run_path(str(SCRIPT))["main"]()
