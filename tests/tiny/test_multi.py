"""Two real processes by `accelerate launch`, talking by gloo: the rows, losses, weights and answers of one process.

This file is also the program that is launched: the example's script, watched, and killed where a test wants it.
"""

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from tests.models import with_models

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "train_multi_gpu.py"
# Two steps of 8 rows in 4 micro-batches, and one of a row, which two processes cannot share.
ARGUMENTS = {
    "--profile": "smoke",
    "--method": "full",
    "--batch": "8",
    "--micro-batch": "1",
    "--train-rows": "17",
    "--epochs": "1",
    "--learning-rate": "1e-2",
    "--save-every": "1",
    "--test-rows": "150",
}


class Job:
    """A run of the example below a folder of its own, in one process or by Accelerate."""

    def __init__(self, place: Path, config: str = "", options: str = "", **told: str):
        self.place, self.told = place, {}
        own = {"TEXT_TO_SQL_OUTPUTS": with_models(place / "outputs"), "TEXT_TO_SQL_RESULTS": str(place / "results")}
        own |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "MULTI_PLACE": str(place)}
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"examples/{config}.yaml"]
        arguments = ARGUMENTS | {name: value for name, value in told.items() if name.startswith("--")}
        environment = {name: value for name, value in told.items() if not name.startswith("--")}
        self.process = subprocess.Popen(
            [
                *([*launch, *(options or "--main_process_port 0").split()] if config else [sys.executable]),
                *(__file__, *(word for pair in arguments.items() for word in pair)),
            ],
            cwd=ROOT,
            env=os.environ | own | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self) -> tuple[int, str]:
        """Exit code and output."""
        try:
            output = self.process.communicate(timeout=1500)[0]
        finally:
            self.process.kill()
        return self.process.returncode, output

    def done(self) -> "Job":
        code, output = self.end()
        assert code == 0, output[-4000:]
        return self

    def seen(self) -> dict[int, list[dict]]:
        """By rank, each micro-batch that was trained on: step, rows, and numbers held of the trained weights."""
        paths = sorted(self.place.glob("seen-*.jsonl"))
        return {i: [json.loads(line) for line in path.read_text().splitlines()] for i, path in enumerate(paths)}

    def rows(self) -> dict[int, list[list[int]]]:
        """By step, the token ids of the rows of all processes, in an order of their own."""
        steps: dict[int, list] = {}
        for line in (line for lines in self.seen().values() for line in lines):
            steps.setdefault(line["step"], []).extend(line["rows"])
        return {step: sorted(rows) for step, rows in steps.items()}

    def curve(self) -> pandas.DataFrame:
        return pandas.read_csv(self.written(".curve.csv"))

    def record(self) -> dict:
        return json.loads(self.written(".json").read_text())

    def answers(self) -> list[dict]:
        text = self.written(".predictions.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def written(self, ending: str) -> Path:
        """A file of the record; its folder is named after the rows, which are not the profile's."""
        (path,) = self.place.glob(f"outputs/results/smoke@*/example-multi-gpu{ending}")
        return path

    def weights(self) -> Path:
        (folder,) = self.place.glob("outputs/runs/smoke/*/training/weights")
        return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Callable[[str], Path]:
    return lambda name: tmp_path_factory.mktemp(name, numbered=False)


@pytest.fixture(scope="module")
def wrong(place) -> tuple[int, str]:
    """Exit code and output of a job that a user's mistake ends in every process."""
    return Job(place("wrong"), "ddp", MULTI_WRONG="a mistake; mend it").end()


@pytest.fixture(scope="module")
def finished(place) -> tuple[Job, Job]:
    """In one process without Accelerate; and as on two machines, with a process each, by DDP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both, options = place("ddp"), f"--num_machines 2 --main_process_ip 127.0.0.1 --main_process_port {port}"
    jobs = [Job(place("alone")), *(Job(both, "ddp", f"{options} --machine_rank {i}") for i in range(2))]
    for job in jobs:
        job.done()
    return jobs[0], jobs[1]


@pytest.fixture(scope="module")
def killed(place) -> dict[str, tuple[float, int, str, Job]]:
    """Seconds from the death of a process to the job's end, exit code, output, and the job started once more."""
    dead = {"ddp": "1 2", "fsdp": "0 2"}  # rank and step
    places = {config: place(f"killed-{config}") for config in dead}
    jobs = {config: Job(places[config], config, MULTI_DIES=dies) for config, dies in dead.items()}
    ends = {}
    for config, job in jobs.items():
        code, output = job.end()
        assert (places[config] / "died").exists(), output[-3000:]
        ends[config] = (time.time() - (places[config] / "died").stat().st_mtime, code, output)
    again = {config: Job(places[config], config) for config in dead}
    return {config: (*ends[config], job.done()) for config, job in again.items()}


def close(one: Path, other: Path, saved) -> float:
    """The largest difference of a weight."""
    a, b = saved(one), saved(other)
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


def same_curve(one: Job, other: Job) -> None:
    pandas.testing.assert_frame_equal(one.curve(), other.curve(), rtol=0, atol=1e-4)


def test_two_processes_share_the_rows_of_each_step(finished):
    alone, two = finished
    assert {step: len(rows) for step, rows in alone.rows().items()} == {0: 8, 1: 8, 2: 1}
    assert two.rows() == alone.rows()
    one, other = ([(line["step"], len(line["rows"])) for line in two.seen()[rank]] for rank in (0, 1))
    assert [step for step, _ in one] == [step for step, _ in other], "a micro-batch for each process, idle or not"
    assert (one[-1][1], other[-1][1]) == (1, 0)  # an idle one where the last step has a single row


def test_two_processes_lose_and_learn_as_one(finished, saved):
    alone, two = finished
    same_curve(alone, two)
    assert close(alone.weights(), two.weights(), saved) < 1e-5
    losses = two.curve()["loss"].dropna()
    assert losses.iloc[0] - losses.iloc[-1] > 0.1  # so that a hundredth of a step would be seen
    assert (alone.record()["environment"]["processes"], two.record()["environment"]["processes"]) == (1, 2)
    tokens = [job.record()["stages"][0]["tokens"] for job in finished]
    assert tokens[0] == tokens[1] > 0


def test_answers_are_those_of_one_process_with_the_same_weights(finished, tiny, tmp_path):
    from common.data import load_tests
    from common.evaluation import evaluate
    from common.training.adapters import load_weights

    two, base = finished[1], tiny()
    load_weights(base.model, two.weights())
    tests = load_tests("embedded", limit=150, other_limit=8)
    report = evaluate(base, tests, folder=tmp_path, max_new_tokens=24, batch_size=16, databases=4)
    assert report.rows == two.answers()
    files = {path.name: len(path.read_text().splitlines()) for path in two.place.rglob("completions*")}
    half = 1 + sum(map(len, tests.values())) // 2  # half the rows, and their heading
    assert files == {"completions-0-of-2.jsonl": half, "completions-1-of-2.jsonl": half}


@pytest.mark.parametrize("config", ["ddp", "fsdp"])
def test_a_killed_process_ends_the_job_in_one_line(killed, config):
    from common.distributed import DIED, TIMEOUT

    seconds, code, output, _ = killed[config]
    assert code != 0 and seconds < TIMEOUT.total_seconds() / 2, "nobody waits for it until the time is out"
    assert [line for line in output.splitlines() if line.startswith("error:")] == [f"error: {DIED}"], output[-6000:]


def test_a_killed_job_goes_on_and_ends_as_one_that_was_not(killed, finished, saved):
    again, whole = killed["ddp"][-1], finished[1]
    steps, expected = ([line["step"] for line in job.seen()[0]] for job in (again, whole))
    # Two steps before the death, the third after it; whatever of the third the surviving process had begun.
    done = len([step for step in expected if step < 2])
    assert steps[:done] == expected[:done] and set(steps[done:]) == {2} and 1 <= len(steps) - done <= 2
    assert close(again.weights(), whole.weights(), saved) == 0
    assert again.curve().equals(whole.curve())
    assert again.answers() == whole.answers()


def test_sharded_weights_learn_the_same(killed, finished, saved):
    again, alone = killed["fsdp"][-1], finished[0]
    same_curve(alone, again)
    assert close(alone.weights(), again.weights(), saved) < 1e-5
    assert {step: len(rows) for step, rows in again.rows().items()}.keys() == {0, 1, 2}
    total = alone.seen()[0][0]["held"]
    for lines in again.seen().values():
        assert all(0.4 * total < line["held"] < 0.6 * total for line in lines)


def test_a_mistake_ends_the_job_in_one_line(wrong):
    code, output = wrong
    assert code != 0
    assert [line for line in output.splitlines() if line.startswith("error:")] == ["error: a mistake; mend it"]


TWO_ENDS = """
import sys, threading, time
from pathlib import Path
from common import distributed
begun, touch = threading.Event(), Path.touch
def slow(self, **options):
    touch(self, **options)
    begun.set()
    time.sleep(0.5)  # between saying that it will say it, and saying it
Path.touch = slow
threading.Thread(target=distributed._end, args=("error: gone", 1)).start()
begun.wait()
distributed._end("error: told to stop", 1)
"""


def test_a_process_that_ends_for_two_reasons_says_one(tmp_path):
    """Its partner is gone, and the launcher tells it to stop."""
    (tmp_path / "job" / "0").mkdir(parents=True)
    environment = os.environ | {"TORCHELASTIC_ERROR_FILE": str(tmp_path / "job" / "0" / "error.json")}
    done = subprocess.run([sys.executable, "-c", TWO_ENDS], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr.split("\n")) == (1, ["", "error: gone", ""])


# The program that is launched


def _watch(trainer) -> None:
    """Note what this process is taught, and die at the step that MULTI_DIES names."""
    import torch

    from common import distributed

    place, rank, real = Path(os.environ["MULTI_PLACE"]), distributed.rank(), trainer.training_step
    dies = os.environ.get("MULTI_DIES", "").split()

    def training_step(self, model, inputs, *args, **kwargs):
        if [str(rank), str(self.state.global_step)] == dies:
            (place / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (ids,), (ends,), rows = inputs["input_ids"], inputs["ends"], []
        for count, last in zip(inputs["counts"], inputs["counts"].cumsum(dim=0) - 1, strict=True):
            if count:  # up the tree from where the row's last token is predicted
                at = inputs["predictors"][last]
                above = ids[: at + 1][ends[: at + 1] > at]
                rows.append([*above.tolist(), inputs["targets"][last].item()])
        parts = [p.to_local() if isinstance(p, torch.distributed.tensor.DTensor) else p for p in model.parameters()]
        line = {"step": self.state.global_step, "rows": rows, "held": sum(part.numel() for part in parts)}
        with (place / f"seen-{rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        return real(self, model, inputs, *args, **kwargs)

    trainer.training_step = training_step


def _shard_on_cpu() -> None:
    """Accelerate shards on GPUs only, so it is told that these are. What shards, gathers and saves is the same."""
    import torch
    from accelerate import DistributedType, PartialState

    torch.distributed.init_process_group("gloo")
    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"


def _main() -> None:
    from common import distributed
    from common.settings import UserError

    if mistake := os.environ.get("MULTI_WRONG"):
        distributed.join()
        raise UserError(mistake)
    from common.training.sft import CompletionTrainer

    gc.freeze()
    gc.enable()
    if distributed.sharded():
        _shard_on_cpu()
    distributed.join()
    _watch(CompletionTrainer)
    runpy.run_path(str(SCRIPT))["main"]()


if __name__ == "__main__":
    gc.disable()  # a fifth of what the imports take is looking for garbage, and so is much of a training after them
    from common.distributed import run_job

    run_job(_main)
