"""The training bench: what it counts, that the published recipe does what is said of it, that a record comes out."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from bench import published_training, tables, training, training_run
from common.data import load_examples
from common.models import load_model, parameter_counts
from common.profiles import TINY_MODEL
from common.settings import UserError
from common.training.plan import step_plan
from common.training.rows import tokenise
from tests.unit.tiny_sizes import ADAPTER, BODY, HEAD

pytestmark = pytest.mark.usefixtures("one_thread")


def plan_of(rows: int) -> tuple[list[dict], list]:
    tokens = tokenise(load_examples("embedded", "train", limit=rows), load_model(TINY_MODEL), max_length=1024)
    lengths = [len(row["input_ids"]) for row in tokens]
    return tokens, step_plan(
        lengths, epochs=1, effective_batch_size=16, per_device_train_batch_size=2, seed=training_run.SEED
    )


class Reader(torch.nn.Module):
    """As much of a language model as a watch looks at."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.device = torch.device("cpu")

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding


def test_a_watch_counts_what_is_read_in_training_and_marks_every_optimisers_steps(monkeypatch):
    model, clock = Reader(), [0.0]
    monkeypatch.setattr(training_run, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def read(rows: int, width: int) -> None:
        clock[0] += 1
        model.embedding(torch.zeros(rows, width, dtype=torch.long)).sum().backward()

    with training_run.Watch(model) as watch:
        for optimizer in (torch.optim.SGD, torch.optim.AdamW):
            read(2, 7)
            read(3, 5)
            optimizer(model.parameters(), lr=0.1).step()
            model.eval()
            read(4, 100)
            model.train()
    read(2, 7)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert [(mark.positions, mark.batches) for mark in watch.marks] == [(29, 2), (58, 4)]
    assert [mark.seconds for mark in watch.marks] == [2, 5]


def test_the_published_order_is_random_within_the_same_steps():
    plan = [[[4, 1], [0], [7, 3, 2, 5, 6]], [[9, 8], [10, 11, 12, 13, 14, 15]]]
    order = published_training.random_order(plan, seed=3)
    assert sorted(order[:8]) == list(range(8)) and sorted(order[8:]) == list(range(8, 16))
    assert order == published_training.random_order(plan, seed=3) != published_training.random_order(plan, seed=4)
    assert order[:8] not in (sorted(order[:8]), sum(plan[0], []))


@pytest.mark.parametrize("method", training.NAMES)
def test_the_published_recipe_is_what_it_says(method, tmp_path):
    told = training_run.recipe(method)
    loaded = load_model(TINY_MODEL, quantisation=told.quantisation)
    tokens, plan = plan_of(32)
    order = published_training.random_order(plan, 42)
    rows = [tokens[i]["input_ids"] for i in order]
    trainer = published_training.make_trainer(loaded, rows, told, tmp_path)
    read, scored, computed = [], [], []
    base = loaded.model
    base.get_input_embeddings().register_forward_hook(lambda module, args, output: read.append(args[0].clone()))
    base.get_output_embeddings().register_forward_hook(lambda module, args, output: scored.append(output.shape))
    base.model.layers[0].self_attn.register_forward_hook(lambda module, args, output: computed.append(1))
    trainer.train()
    # Two rows a batch in the order given, padded to the longer one.
    pad = loaded.tokenizer.pad_token_id
    assert len(read) == 16 and trainer.state.global_step == 2
    for at, batch in enumerate(read):
        pair = rows[2 * at : 2 * at + 2]
        width = max(map(len, pair))
        assert batch.tolist() == [row + [pad] * (width - len(row)) for row in pair]
        assert tuple(scored[at]) == (2, width, 1024)  # logits at every position
    assert len(computed) == 2 * len(read)  # each layer once more in the backward pass
    assert trainer.args.optim == "adamw_torch_fused" and trainer.args.max_grad_norm == 1.0
    assert parameter_counts(trainer.model)[0] == (ADAPTER if told.method != "full" else sum(n for n in sizes(base)))


def sizes(model: torch.nn.Module) -> list[int]:
    return [parameter.numel() for parameter in model.parameters()]


def test_the_published_loss_covers_prompt_and_completion_but_no_padding(tmp_path):
    loaded = load_model(TINY_MODEL)
    tokens, _ = plan_of(32)
    pair = sorted((row["input_ids"] for row in tokens), key=len)[::31]
    trainer = published_training.make_trainer(loaded, pair, training_run.recipe("full"), tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert len(batch["input_ids"][0]) != len(pair[0])  # the shorter one is padded
    total = count = 0.0
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, dict(batch)).item()
        for row in pair:
            logits = loaded.model(input_ids=torch.tensor([row])).logits[0, :-1]
            total -= logits.log_softmax(-1)[range(len(row) - 1), row[1:]].sum().item()
            count += len(row) - 1
    assert loss == pytest.approx(total / count, abs=1e-5)


@pytest.mark.parametrize("method", ["full", "qlora"])
def test_all_kinds_are_timed_on_the_same_rows_after_the_first_step(method, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_PRECISION", "float32")
    monkeypatch.setattr(training_run, "rates", lambda *_: {"float32": 1e9})
    runs = {kind: training_run.measure(kind, method, model_id=TINY_MODEL, rows=32) for kind in training.KINDS}
    tokens, plan = plan_of(32)
    lengths = [len(row["input_ids"]) for row in tokens]
    second = [i for batch in plan[1] for i in batch]
    order = published_training.random_order(plan, training_run.SEED)[16:]
    assert sorted(order) == sorted(second)
    labelled = sum(label != -100 for i in second for label in tokens[i]["labels"])
    prefixes = {tuple(tokens[i]["input_ids"][:end]) for i in second for end in range(1, lengths[i])}
    for run in runs.values():
        assert (run["rows"], run["tokens"], run["labelled"]) == (16, sum(lengths[i] for i in second), labelled)
        assert run["seconds"] > 0 and run["peak"] > 100e6 and run["unique"] == len(prefixes) < 0.8 * run["tokens"]
        each = 6 * BODY if method == "full" else 4 * BODY + 6 * ADAPTER
        assert run["flops"] == each * run["unique"] + (6 if method == "full" else 4) * HEAD * labelled
    pairs = [order[at : at + 2] for at in range(0, 16, 2)]
    assert runs["published"]["positions"] == sum(2 * max(lengths[i] for i in pair) for pair in pairs)
    assert runs["padded"]["positions"] == sum(len(batch) * max(lengths[i] for i in batch) for batch in plan[1])
    assert runs["published"]["batches"] == runs["padded"]["batches"] == 8
    assert runs["ours"]["batches"] == runs["float32"]["batches"]
    assert runs["ours"]["positions"] == runs["float32"]["positions"] < 0.9 * runs["padded"]["positions"]
    assert runs["published"]["evaluation"] is None and 0 < runs["ours"]["evaluation"] < 1


def test_each_kind_has_its_arithmetic(monkeypatch):
    for native in ("float32", "bfloat16"):
        monkeypatch.setenv("TEXT_TO_SQL_PRECISION", native)
        found = {kind: training_run.precision(kind) for kind in training.KINDS}
        assert found == {"published": "float32", "float32": "float32", "padded": native, "ours": native}


def invented(kind: str, method: str, *, model: str, rows: int) -> dict:
    """A run as `training_run` prints it: ours in a fifth of the time and half the memory, LoRA slower than the rest."""
    seconds = {"published": 8.0, "float32": 4.0, "padded": 2.0, "ours": 1.6}[kind] * (1.25 if method == "lora" else 1)
    return {
        "seconds": seconds,
        "rows": rows - 16,
        "tokens": 2400,
        "unique": 1800,
        "labelled": 300,
        "positions": {"published": 3000, "float32": 1800, "padded": 2520, "ours": 1800}[kind],
        "batches": 8,
        "flops": 12e9,
        "peak": {"published": 2e9, "float32": 1.5e9, "padded": 1.2e9, "ours": 1e9}[kind],
        "evaluation": None if kind == "published" else 0.05,
        "ceilings": {"float32": 5e9, "bfloat16": 10e9},
        "model": "m",
        "precision": "bfloat16" if kind in ("padded", "ours") else "float32",
        "accelerator": "",
        "recipe": {"method": method, "effective_batch_size": 16, "lora_rank": 16, "lora_alpha": 32},
    }


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench.training", *arguments])
    return training.main()


def test_a_record_holds_every_figure_and_makes_a_table(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(training, "train", lambda *a, **k: calls.append(a) or invented(*a, **k))
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    monkeypatch.setenv("TEXT_TO_SQL_PRECISION", "bfloat16")
    run_main(monkeypatch, "--rows", "48", "--repetitions", "2", "--methods", "full", "lora")
    kinds = list(training.KINDS)
    turns = [[(kind, method) for kind in kinds] for method in ("full", "lora")]
    assert calls == turns[0] + turns[1] + turns[0][::-1] + turns[1][::-1]
    entry = tables.load("training")
    lines = {line["name"]: line for line in entry["measurements"]}
    values = {name: line["value"] for name, line in lines.items()}
    rows = {"published": 4, "float32": 8, "padded": 16, "ours": 20}
    shares = {"published": 15, "float32": 30, "padded": 60, "ours": 75}
    peaks = {"published": 2000, "float32": 1500, "padded": 1200, "ours": 1000}
    expected = {}
    for method, slower in (("full", 1), ("lora", 1.25)):
        for kind in kinds:
            expected[f"{method}-rows-{kind}"] = rows[kind] / slower
            expected[f"{method}-utilisation-{kind}"] = shares[kind] / slower
            expected[f"{method}-memory-{kind}"] = peaks[kind]
            if kind != "published":
                expected[f"{method}-speedup-{kind}"] = rows[kind] / 4
                expected[f"{method}-memory-ratio-{kind}"] = peaks[kind] / 2000
        expected[f"{method}-look"] = 5
    expected |= {"positions-published": 1.25, "positions-float32": 0.75, "positions-padded": 1.05}
    expected |= {"positions-ours": 0.75, "products-float32": 5, "products-bfloat16": 10}
    assert values == pytest.approx(expected)
    assert all(line["repetitions"] == 2 for name, line in lines.items() if name.startswith(("full", "lora")))
    assert all(f"| {line['what']} |" in tables.markdown("training") for line in entry["measurements"])
    assert entry["data"]["timed_rows"] == 32 and "method" not in entry["data"]["recipe"]
    assert "(1,800 of 2,400 tokens)" in entry["notes"][2] and "native bfloat16" in entry["environment"]["device"]


def test_where_the_hardwares_arithmetic_is_float32_it_is_timed_once(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(training, "train", lambda *a, **k: calls.append(a[0]) or invented(*a, **k))
    monkeypatch.setenv("TEXT_TO_SQL_PRECISION", "float32")
    out = ("--out", str(tmp_path / "t.json"))
    run_main(monkeypatch, "--rows", "48", "--repetitions", "1", "--methods", "full", *out)
    assert calls == ["published", "padded", "ours"]


def test_kinds_are_chosen_and_the_two_that_are_compared_must_be_there(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(training, "train", lambda *a, **k: calls.append(a[0]) or invented(*a, **k))
    monkeypatch.setenv("TEXT_TO_SQL_PRECISION", "bfloat16")
    sizes = ("--repetitions", "1", "--methods", "lora", "--out", str(tmp_path / "t.json"), "--kinds")
    run_main(monkeypatch, *sizes, "ours", "published")
    assert calls == ["published", "ours"]
    with pytest.raises(UserError, match="give both"):
        run_main(monkeypatch, *sizes, "ours", "padded")


def test_another_models_record_has_its_name():
    assert training.record_name("HuggingFaceTB/SmolLM2-135M-Instruct") == "training"
    assert training.record_name("Qwen/Qwen2.5-Coder-0.5B-Instruct") == "training-qwen2.5-coder-0.5b-instruct"


def targets_of(method: str, precision: str) -> dict:
    runs = {kind: [invented(kind, method, model="m", rows=48)] for kind in training.KINDS}
    for kind in ("padded", "ours"):
        runs[kind][0]["precision"] = precision
    lines = training.of_method(method, runs)
    return {line["name"].removeprefix(f"{method}-"): line["target"] for line in lines if line["target"]}


@pytest.mark.parametrize(
    ("method", "native", "exact"), [("full", 4, 2.5), ("lora", 6, 2.5), ("qlora", 4, None)], ids=list(training.NAMES)
)
def test_targets_follow_the_arithmetic(method, native, exact):
    common = {name: {"at_most": 0.8} for name in ("memory-ratio-ours", "memory-ratio-float32")}
    common |= {"look": {"at_most": 10}, "utilisation-ours": {"at_least": 50}}
    if exact:
        common["speedup-float32"] = {"at_least": exact}
    assert targets_of(method, "bfloat16") == common | {"speedup-ours": {"at_least": native}}
    assert targets_of(method, "float32") == common | ({"speedup-ours": {"at_least": exact}} if exact else {})


@pytest.mark.parametrize("rows, repetitions", [(16, 3), (40, 3), (0, 3), (-16, 3), (32, 0)])
def test_sizes_that_leave_nothing_to_time_are_refused(rows, repetitions, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(UserError, match="give"):
        run_main(monkeypatch, "--rows", str(rows), "--repetitions", str(repetitions))


def test_what_a_training_refuses_comes_through_in_one_line(monkeypatch):
    done = subprocess.CompletedProcess([], 2, "", "a warning\nerror: there is no model folder './x'; give a folder\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: done)
    with pytest.raises(UserError, match=r"^there is no model folder './x'; give a folder$"):
        training.train("ours", "full", model="./x", rows=32)
    done.returncode = 1
    with pytest.raises(RuntimeError, match="a warning"):
        training.train("ours", "full", model="./x", rows=32)


@pytest.mark.slow
def test_the_training_bench_runs_and_writes_a_valid_record(monkeypatch, tmp_path):
    path, in_a_process = tmp_path / "training.json", training.train

    def train(kind, method, *, model, rows):  # one of them spares the imports
        if kind == "ours":
            return in_a_process(kind, method, model=model, rows=rows)
        return json.loads(json.dumps(training_run.measure(kind, method, model_id=model, rows=rows)))

    monkeypatch.setattr(training, "train", train)
    run_main(
        monkeypatch,
        *("--model", TINY_MODEL, "--methods", "lora", "--rows", "32", "--repetitions", "1", "--out", str(path)),
    )
    record = json.loads(path.read_text())
    assert not tables.missing_keys(record)
    found = {line["name"]: line["value"] for line in record["measurements"]}
    assert all(value >= 0 for value in found.values())
    assert found["lora-rows-ours"] > 0 and found["positions-ours"] < 1 < found["positions-published"]
    assert record["data"]["model"].startswith(TINY_MODEL)
