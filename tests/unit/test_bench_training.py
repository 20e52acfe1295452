"""The training bench: what it counts, that the published recipe does what is said of it, that a record comes out."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from bench import published_training, tables, training, training_flops, training_run
from bench.training_flops import Products, products
from common.data import load_examples
from common.models import load_model, parameter_counts
from common.profiles import TINY_MODEL
from common.settings import UserError
from common.training.adapters import adapt
from common.training.plan import step_plan
from common.training.rows import tokenise

# The tiny model: width 64, MLP 128, 4 heads of 16 with 2 key-value heads, 2 layers, 1,024 tokens.
LAYER = {"q": (64, 64), "k": (64, 32), "v": (64, 32), "o": (64, 64), "gate": (64, 128), "up": (64, 128)}
LAYER |= {"down": (128, 64)}
BODY = 2 * (64 * 64 + 64 * 32 + 64 * 32 + 64 * 64 + 3 * 64 * 128)
ADAPTER = 16 * 2 * (128 + 96 + 96 + 128 + 3 * 192)
HEAD = 64 * 1024


pytestmark = pytest.mark.usefixtures("one_thread")


def plan_of(rows: int) -> tuple[list[dict], list]:
    tokens = tokenise(load_examples("embedded", "train", limit=rows), load_model(TINY_MODEL), max_length=1024)
    lengths = [len(row["input_ids"]) for row in tokens]
    return tokens, step_plan(
        lengths, epochs=1, effective_batch_size=16, per_device_train_batch_size=2, seed=training_run.SEED
    )


@pytest.mark.parametrize("quantisation", ["", "nf4"])
def test_the_models_products_are_its_linear_layers(quantisation):
    found = products(load_model(TINY_MODEL, quantisation=quantisation).model, rank=16)
    assert sorted(found.layers) == sorted([*LAYER.values()] * 2)
    assert found.head == (64, 1024) and found.rank == 16


def test_useful_operations_by_hand():
    layers = tuple(LAYER.values()) * 2
    full, lora = Products(layers, (64, 1024)), Products(layers, (64, 1024), rank=16)
    assert BODY == 73_728 and ADAPTER == 32_768
    assert full.useful_flops(tokens=100, labelled=10) == 6 * 73_728 * 100 + 6 * 65_536 * 10
    assert lora.useful_flops(tokens=100, labelled=10) == (4 * 73_728 + 6 * 32_768) * 100 + 4 * 65_536 * 10


def test_the_counted_adapter_is_the_trained_one():
    model = adapt(load_model(TINY_MODEL), training_run.recipe("lora"))
    assert parameter_counts(model)[0] == ADAPTER


def test_rates_are_operations_over_the_fastest_call(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(training_flops, "_fastest", lambda action, device: action().numel() / 1000)
    monkeypatch.setitem(training_flops.LARGE, "cpu", 50)
    found = training_flops.rates([(8, 20), (30, 4), (8, 20)], rows=10, dtype=torch.float32, device=cpu)
    assert found == {"large": 2 * 50**3 / 2.5, "model": 2 * 10 * 30 * 4 / 0.04}


def test_the_fastest_call_counts(monkeypatch):
    clock, pauses = [0.0], iter([5, 1, 5, 5, 5])
    monkeypatch.setattr(training_flops, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert training_flops._fastest(lambda: clock.append(clock.pop() + next(pauses)), torch.device("cpu")) == 1


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
def test_both_recipes_are_timed_on_the_same_rows_after_the_first_step(method):
    found = {kind: training_run.measure(kind, method, model_id=TINY_MODEL, rows=32) for kind in training.KINDS}
    tokens, plan = plan_of(32)
    lengths = [len(row["input_ids"]) for row in tokens]
    second = [i for batch in plan[1] for i in batch]
    order = published_training.random_order(plan, training_run.SEED)[16:]
    assert sorted(order) == sorted(second)
    taught = sum(label != -100 for i in second for label in tokens[i]["labels"])
    for run in found.values():
        assert (run["rows"], run["tokens"], run["labelled"]) == (16, sum(lengths[i] for i in second), taught)
        assert run["batches"] == 8 and run["seconds"] > 0 and run["peak"] > 100e6
        each = 6 * BODY if method == "full" else 4 * BODY + 6 * ADAPTER
        assert run["flops"] == each * run["tokens"] + (6 if method == "full" else 4) * HEAD * taught
    pairs = [order[at : at + 2] for at in range(0, 16, 2)]
    assert found["published"]["positions"] == sum(2 * max(lengths[i] for i in pair) for pair in pairs)
    assert found["ours"]["positions"] == sum(len(batch) * max(lengths[i] for i in batch) for batch in plan[1])
    assert found["published"]["evaluation"] is None and 0 < found["ours"]["evaluation"] < 1


def invented(kind: str, method: str, *, model: str, rows: int) -> dict:
    """A run as `training_run` prints it: ours in half the time and memory, LoRA slower than the rest."""
    seconds = {"published": 8.0, "ours": 4.0}[kind] * (1.25 if method == "lora" else 1)
    return {
        "seconds": seconds,
        "rows": rows - 16,
        "tokens": 2400,
        "labelled": 300,
        "positions": {"published": 3000, "ours": 2500}[kind],
        "batches": 8,
        "flops": 12e9,
        "peak": {"published": 2e9, "ours": 1e9}[kind],
        "evaluation": 0.05 if kind == "ours" else None,
        "ceiling": {"large": 4e9, "model": 3e9},
        "model": "m",
        "precision": "float32",
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
    run_main(monkeypatch, "--rows", "48", "--repetitions", "2", "--methods", "full", "lora")
    turns = [("published", "full"), ("ours", "full"), ("published", "lora"), ("ours", "lora")]
    assert calls == turns + [turns[1], turns[0], turns[3], turns[2]]
    made = tables.load("training")
    found = {line["name"]: line for line in made["measurements"]}
    values = {name: line["value"] for name, line in found.items()}
    assert values == {
        "full-rows-published": 4,
        "full-rows": 8,
        "full-speedup": 2,
        "full-tokens-published": 300,
        "full-tokens": 600,
        "full-utilisation-published": 37.5,
        "full-utilisation": 75,
        "full-memory-published": 2000,
        "full-memory": 1000,
        "full-memory-ratio": 0.5,
        "full-look": 5,
        "lora-rows-published": 3.2,
        "lora-rows": 6.4,
        "lora-speedup": 2,
        "lora-tokens-published": 240,
        "lora-tokens": 480,
        "lora-utilisation-published": 30,
        "lora-utilisation": 60,
        "lora-memory-published": 2000,
        "lora-memory": 1000,
        "lora-memory-ratio": 0.5,
        "lora-look": 5,
        "padding-published": 20,
        "padding-ours": 4,
        "products-large": 4,
        "products-model": 3,
    }
    assert all(
        line["repetitions"] == (8 if "products" in line["name"] else 2)
        for line in found.values()
        if "padding" not in line["name"]
    )
    assert all(f"| {line['what']} |" in tables.markdown("training") for line in made["measurements"])
    assert made["data"]["timed_rows"] == 32 and "method" not in made["data"]["recipe"]


def test_targets_are_on_ratios_utilisation_and_the_evaluation():
    runs = {kind: [invented(kind, "full", model="m", rows=48)] for kind in training.KINDS}
    targets = {
        method: {
            line["name"].removeprefix(f"{method}-"): line["target"]
            for line in training.of_method(method, runs["published"], runs["ours"])
            if line["target"]
        }
        for method in training.NAMES
    }
    common = {"memory-ratio": {"at_most": 1}, "look": {"at_most": 10}}
    assert targets == {
        "full": common | {"speedup": {"at_least": 2}, "utilisation": {"at_least": 60}},
        "lora": common | {"speedup": {"at_least": 2}},
        "qlora": common,
    }


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
    assert found["lora-rows"] > 0 and found["padding-ours"] < found["padding-published"]
    assert record["data"]["model"].startswith(TINY_MODEL)
