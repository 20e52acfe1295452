"""The GPU bench: sizes, both recipes' steps, which parts run and when, what is kept, a record from a narrow model."""

import json
import math
import os
import subprocess
import sys
import time

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench import gpu, gpu_checks, gpu_generation, gpu_methods, gpu_model, gpu_parts, gpu_training
from bench.gpu_model import FULL, SMALL, Setting
from bench.training_flops import Products, products
from common.results import benches
from common.results import gpu as lines
from common.settings import ROOT, UserError
from common.training.rows import IGNORED


def row(length):
    """Three tokens are taught."""
    ids = list(range(10, 10 + length))
    return {"input_ids": ids, "labels": [IGNORED] * (length - 3) + ids[-3:]}


ROWS = [row(length) for length in (12, 5, 9, 7, 6, 11, 8, 10)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """The narrow model, in a folder of outputs that this file's tests share."""
    before = os.environ.get("TEXT_TO_SQL_OUTPUTS")
    os.environ["TEXT_TO_SQL_OUTPUTS"] = str(tmp_path_factory.mktemp("outputs"))
    yield Setting(SMALL, 1.0)
    os.environ.pop("TEXT_TO_SQL_OUTPUTS") if before is None else os.environ.update(TEXT_TO_SQL_OUTPUTS=before)


# Sizes


def test_the_architecture_is_qwen3_06bs():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(gpu_model.config(FULL.architecture))
    # Per layer: q and o 1024 × 2048, k and v 1024 × 1024, MLP 3 × 1024 × 3072, norms 2 × 1024 + 2 × 128.
    layer = 2 * 1024 * 2048 + 2 * 1024 * 1024 + 3 * 1024 * 3072 + 2 * 1024 + 2 * 128
    assert sum(p.numel() for p in model.parameters()) == 28 * layer + 151_936 * 1024 + 1024 == 596_049_920
    counted = products(model, frozen=True)
    weights = 28 * (layer - 2 * 1024 - 2 * 128)
    assert sum(a * b for a, b in counted.layers) == weights == 440_401_920
    assert counted.useful_flops(tokens=195, taught=45) == 4 * weights * 195 + 4 * 151_936 * 1024 * 45


def test_useful_operations_of_prompt_tuning_train_no_weight():
    one = ((4, 8),)
    assert Products(one, (4, 100), frozen=True).useful_flops(tokens=10, taught=2) == 4 * 32 * 10 + 4 * 400 * 2
    assert Products(one, (4, 100)).useful_flops(tokens=10, taught=2) == 6 * 32 * 10 + 6 * 400 * 2


def test_rows_have_the_published_mean_length():
    lengths = gpu_model.row_lengths(20_000, seed=1)
    answers = gpu_model.answer_lengths(20_000, seed=1)
    for found, mean, deviation in ((lengths, 195, 75), (answers, 45, 25)):
        average = sum(found) / len(found)
        assert average == pytest.approx(mean, rel=0.02)
        assert math.sqrt(sum((n - average) ** 2 for n in found) / len(found)) == pytest.approx(deviation, rel=0.05)
    assert min(lengths) == 60 and max(lengths) <= 1024 and min(answers) >= 5 and max(answers) <= 512
    assert lengths == gpu_model.row_lengths(20_000, seed=1) != gpu_model.row_lengths(20_000, seed=2)


def test_rows_are_prompt_and_answer_within_the_vocabulary():
    rows = gpu_model.make_rows(300, 1024, seed=3, longest_first=True)
    assert [len(row["input_ids"]) for row in rows] == [1024, *gpu_model.row_lengths(300, 3)[1:]]
    for row, answer in zip(rows, gpu_model.answer_lengths(300, 3), strict=True):
        ids, labels = row["input_ids"], row["labels"]
        taught = min(answer, len(ids) - 10)
        assert labels == [IGNORED] * (len(ids) - taught) + ids[-taught:]
        assert min(ids) >= 8 and max(ids) < 1024
    every = sorted(token for row in rows for token in row["input_ids"])
    assert every[len(every) // 2] < 100  # low ids are the commoner ones


# Both recipes' steps


def test_both_recipes_take_each_step_on_the_same_rows():
    plan = gpu_training.plan_of(ROWS, 4, 2)
    mine, theirs = gpu_training.our_steps(ROWS, plan, 0), gpu_training.published_steps(ROWS, plan, 0)

    def read(steps, at):
        return sorted(row[row > 0].tolist() for batch in steps.batches[at] for row in batch["input_ids"])

    for at in range(2):
        wanted = sorted(ROWS[i]["input_ids"] for batch in plan[at] for i in batch)
        assert read(mine, at) == read(theirs, at) == wanted
    assert mine.weights == [12, 12] and theirs.weights == [2, 2]
    assert [len(batch["input_ids"]) for step in theirs.batches for batch in step] == [2] * 4
    taught = [int((batch["labels"] != IGNORED).sum()) for batch in theirs.batches[0]]
    assert sum(taught) == sum(len(ROWS[i]["input_ids"]) for batch in plan[0] for i in batch)  # the prompt too
    widest = max(batch["input_ids"].numel() for step in mine.batches for batch in step)
    assert max(batch["input_ids"].numel() for batch in mine.largest().batches[0]) == widest
    # The same rows whatever the micro-batch.
    other = gpu_training.plan_of(ROWS, 4, 4)
    assert [sorted(sum(step, [])) for step in plan] == [sorted(sum(step, [])) for step in other]


def test_a_step_is_the_published_recipes_and_the_other_ours(setting):
    told = gpu_training.recipe("lora", 4)
    rows, head, computed = setting.rows(4), [], []
    for make, steps_of in (
        (gpu_training.published, gpu_training.published_steps),
        (gpu_training.ours, gpu_training.our_steps),
    ):
        loaded = setting.load()
        training = make(loaded, told, None)
        loaded.model.get_output_embeddings().register_forward_hook(
            lambda m, a, out: head.append(out.shape[:-1].numel())
        )
        loaded.model.model.layers[0].self_attn.register_forward_hook(lambda m, a, out: computed.append(1))
        steps = steps_of(rows, gpu_training.plan_of(rows, 4, 4), 0)
        before = [p.detach().clone() for p in training.trained]
        training.step(steps.batches[0], steps.weights[0])
        assert any((a != b).any() for a, b in zip(before, training.trained, strict=True))
        positions = sum(batch["input_ids"].numel() for batch in steps.batches[0])
        taught = sum(label != IGNORED for row in rows for label in row["labels"])
        published = make is gpu_training.published
        assert sum(head) == (positions if published else taught)
        assert len(computed) == (2 if published else 1) * len(steps.batches[0])  # checkpointing computes it again
        head.clear(), computed.clear()


def test_ours_and_a_plain_loop_have_one_loss_curve(setting):
    found = gpu_checks.loss(Setting(SMALL, 1.0))
    assert 0 < found["found"]["loss"][0] < 0.01  # per cent, in float32
    assert "10 steps" in found["notes"][0]


def test_the_loss_curves_part_where_the_paths_do(setting, monkeypatch):
    monkeypatch.setattr(gpu_training, "completion_loss", lambda *a: (1.05 * REAL(*a)[0], None))
    assert gpu_checks.loss(Setting(SMALL, 1.0))["found"]["loss"][0] > 4


REAL = gpu_training.completion_loss


def test_the_fastest_micro_batch_that_fits_is_taken(monkeypatch):
    monkeypatch.setattr(gpu_training, "free", lambda: None)
    seconds = {4: 3.0, 2: 1.0, 1: 2.0}

    class Fake:
        forgotten = 0

        def forget(self):
            self.forgotten += 1

    def took(training, steps):
        rows = len(steps.batches[0][0]["input_ids"])
        micro = next(m for m in (8, 4, 2, 1) if 8 // m == len(steps.batches[0]))
        if micro == 8:
            raise torch.OutOfMemoryError(f"{rows} rows")
        return seconds[micro]

    monkeypatch.setattr(gpu_training, "seconds_of", took)
    training = Fake()
    assert gpu_training.fastest_micro(training, ROWS, 8, 0, 60) == (2, "8 (too large), 4, 2, 1")
    assert training.forgotten == 1
    monkeypatch.setattr(gpu_training, "seconds_of", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(torch.OutOfMemoryError, match="row by row"):
        gpu_training.fastest_micro(training, ROWS, 8, 0, 60)


def test_rates_are_rows_tokens_and_operations_over_seconds(setting, monkeypatch):
    """Both recipes' passes take 2 and 4 s, the card does 1 GFLOP/s."""
    monkeypatch.setattr(gpu_methods, "passes", lambda *a: ([2.0, 4.0], 3_000_000_000))
    monkeypatch.setattr(gpu_methods, "rates", lambda *a, **k: {"large": 1e9})
    monkeypatch.setattr(gpu_methods, "fastest_micro", lambda *a: (2, "4, 2"))
    monkeypatch.setattr(gpu_methods, "seconds_of", lambda *a: 0.01)
    found = gpu_methods.on_random_weights(Setting(SMALL, 60.0), "prompt")["found"]
    rows = setting.rows(8)
    tokens = sum(len(row["input_ids"]) for row in rows)
    taught = sum(label != IGNORED for row in rows for label in row["labels"])
    weights = 4 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    operations = 4 * weights * (tokens + 8 * 20) + 4 * 64 * 1024 * taught
    for suffix in ("", "-published"):
        assert found[f"prompt-rows{suffix}"] == [4, 2]
        assert found[f"prompt-tokens{suffix}"] == [tokens / 2, tokens / 4]
        assert found[f"prompt-utilisation{suffix}"] == pytest.approx([operations / 2e7, operations / 4e7])
        assert found[f"prompt-memory{suffix}"] == [3]


# Answers end where they should


def test_a_prompt_says_how_long_its_answer_gets_in_both_ways(setting):
    loaded = setting.load()
    gpu_generation.count_down(loaded.model, loaded.tokenizer.eos_token_id)
    prompts, answers = gpu_generation.make_prompts(12, 1024, seed=5)
    ours = gpu_generation.answer(loaded, prompts, max_new_tokens=512, places=5)
    assert [one.new_tokens for one in ours] == answers
    assert gpu_generation.answer_published(loaded, prompts, max_new_tokens=512) == answers
    assert len(set(answers)) > 8
    longest = [[20, 21, gpu_generation.LOWEST + 511]]
    assert gpu_generation.answer_published(loaded, longest, max_new_tokens=600) == [512]


def test_answers_that_end_elsewhere_are_refused(setting, monkeypatch):
    monkeypatch.setattr(gpu_generation, "LONGEST_ANSWER", 6)
    loaded = setting.load()
    prompts, answers = gpu_generation.make_prompts(4, 1024, seed=5)
    with pytest.raises(RuntimeError, match="ended where they should"):
        gpu_generation.measure(loaded, prompts, prefix="generation", places=4, seconds=1, wanted=answers)


# Which parts run, and when


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """Runs the scheduler over invented parts that take no time; returns (run, names that were begun)."""
    begun = []

    def run_part(name, *, smollm2, seconds, limit):
        begun.append((name, round(seconds), round(limit)))
        if name == "lora":
            raise RuntimeError("failed: it did not fit in the device's memory")
        return {"found": {f"{name}-rows": [1.0]}, "notes": [f"{name} was run"]}

    monkeypatch.setattr(gpu, "run_part", run_part)

    def run(*names, left=1000.0, device="NVIDIA H200", smollm2="", scale=1.0):
        begun.clear()
        deadline = time.monotonic() + left
        return gpu.measure(names, tmp_path, device=device, smollm2=smollm2, scale=scale, deadline=deadline)

    return run, begun


def test_a_part_that_fails_ends_no_other_and_is_tried_again(parts):
    run, begun = parts
    found, told = run("full", "lora", "prompt", left=155)
    # 40, 40 and 35 s at least: the time left is shared in that proportion.
    assert begun == [("full", 54, 155), ("lora", 83, 155), ("prompt", 155, 155)]
    assert list(found) == ["full", "prompt"] and told == {"lora": "failed: it did not fit in the device's memory"}
    found, told = run("full", "lora", "prompt", left=155)
    assert begun == [("lora", 155, 155)] and list(found) == ["full", "prompt"]


def test_a_part_is_not_begun_where_the_time_left_is_too_short(parts):
    run, begun = parts
    found, told = run("generation", "ceilings", left=60)
    assert [name for name, *_ in begun] == ["ceilings"]
    assert told == {"generation": "was not begun: 60 s were left, it needs 100; call again"}
    assert run("generation", left=60, scale=0.2)[1] == {} and begun == [("generation", 60, 60)]


def test_parts_whose_needs_are_not_there_are_told(parts, monkeypatch):
    run, begun = parts
    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name == "datasets" else True)
    _, told = run("qlora", "trainer", "smollm2-full", "variants", left=1000)
    assert [name for name, *_ in begun] == ["qlora", "variants"]
    assert told["trainer"] == "takes datasets, not installed" and "--smollm2 DIR" in told["smollm2-full"]
    assert run("variants", device="")[1] == {}  # found before, so nothing to tell
    assert "CUDA" in gpu.missing(gpu.PARTS["variants"], device="", smollm2="")
    run("smollm2-full", smollm2="x")
    assert [name for name, *_ in begun] == ["smollm2-full"]


def test_what_is_kept_belongs_to_device_packages_and_model(monkeypatch):
    folders = {gpu.state_folder(device, real) for device in ("", "NVIDIA H200", "Tesla T4") for real in ("", "x")}
    assert len(folders) == 6
    monkeypatch.setattr(gpu, "installed", lambda: {"torch": "0"})
    assert gpu.state_folder("", "") not in folders
    assert gpu.slug("NVIDIA GH200 480GB/x") == "nvidia-gh200-480gb-x" and gpu.slug("") == "cpu"


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="--smollm2"):
        gpu.source_of_smollm2("no/such/folder")


# The record and its table


def test_targets_are_an_h200s_but_for_memory_and_loss():
    def targets(device):
        return {m["name"] for m in gpu.measurements({}, device) if m["target"]}

    everywhere = {"loss", "t4-full-memory", "t4-lora-memory", "t4-qlora-memory"}
    assert targets("Tesla T4") == everywhere and targets("") == set()
    assert targets("NVIDIA H200") == everywhere | {"full-rows", "lora-rows", "qlora-rows", "generation-seconds"}
    with pytest.raises(ValueError, match="full-rowz"):
        gpu.measurements({"full": {"found": {"full-rowz": [1.0]}, "notes": []}}, "")


def test_lines_that_were_measured_have_values_and_ratios():
    found = {"full": {"found": {"full-rows-published": [80, 90, 100], "full-rows": [450, 480, 500]}, "notes": []}}
    made = {line["name"]: line for line in gpu.measurements(found, "NVIDIA H200")}
    assert (made["full-rows"]["value"], made["full-rows"]["met"]) == (480, True)
    ratio = made["full-rows-ratio"]
    assert (ratio["value"], ratio["low"], ratio["high"]) == (5.33333, 4.5, 6.25)
    assert made["lora-rows"]["value"] is None and made["lora-rows"]["met"] is None


def test_the_readme_shows_targets_until_a_gpu_was_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    text = lines.markdown()
    assert "| FullFT, ours: rows | – | – | 0 | ≥ 400 rows/s | not measured |" in text
    assert "| answering 5,851 rows, ours | – | – | 0 | ≤ 60 s | not measured |" in text
    made = gpu.measurements({"full": {"found": {"full-rows": [500.0]}, "notes": []}}, "NVIDIA H200")
    for name in ("gpu-cpu", "gpu-nvidia-h200"):
        gpu.write(gpu.record(name, made, packages=(), data={}, notes=["a note"]))
        text = lines.markdown()
        assert ("| FullFT, ours: rows | 500 rows/s |" in text) == (name == "gpu-nvidia-h200")
    assert "a note" in text


# Processes


def test_the_command_needs_no_trainer_and_no_tables(tmp_path):
    """A part's modules and the command's import nothing beyond torch, transformers and peft."""
    code = (
        "import sys\n"
        "for name in ('trl', 'datasets', 'bitsandbytes', 'liger_kernel', 'pandas', 'scipy'): sys.modules[name] = None\n"
        "import bench.gpu\n"
        "assert 'torch' not in sys.modules, 'the command itself holds no memory on the card'\n"
        "import bench.gpu_checks, bench.gpu_generation, bench.gpu_methods\n"
        "bench.gpu.record('gpu-x', bench.gpu.measurements({}, ''), packages=(), data={}, notes=[])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_killed_command_leaves_no_part_behind_and_the_next_one_goes_on(setting, tmp_path):
    folder = gpu.state_folder("", gpu.source_of_smollm2(""))
    folder.mkdir(parents=True)
    (folder / "ceilings.json").write_text(json.dumps({"found": {"copy": [7.0, 9.0]}, "notes": ["from before"]}))
    (folder / "loss.json").write_text('{"found": {"lo')  # cut short: as good as absent
    command = [sys.executable, "-m", "bench.gpu", "--parts", "ceilings", "full", "--out", str(tmp_path / "r.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        (part,) = until(lambda: parts_of(started.pid))
        time.sleep(2)  # until it watches
    finally:
        started.kill()
        started.wait()
    until(lambda: not alive(part))
    assert not (folder / "full.json").exists()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "full: measured" in done.stderr and "ceilings" not in done.stderr
    record = json.loads((tmp_path / "r.json").read_text())
    assert not benches.missing_keys(record) and record["data"]["parts"] == ["ceilings", "full"]
    found = {line["name"]: line["value"] for line in record["measurements"]}
    assert found["copy"] == 8 and found["full-rows"] > 0 and "from before" in record["notes"]


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def parts_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "gpu_parts full" in line]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_part_that_runs_too_long_is_ended():
    with pytest.raises(RuntimeError, match="was ended after 0 s"):
        gpu.run_part("ceilings", smollm2="", seconds=1, limit=0.3)


def test_what_a_part_cannot_do_comes_through_in_one_line():
    with pytest.raises(RuntimeError, match=r"^failed: there is no model folder './none'"):
        gpu.run_part("smollm2-generation", smollm2="./none", seconds=1, limit=90)


@pytest.mark.slow
def test_every_part_runs_on_a_cpu_and_makes_a_record(setting, monkeypatch, tmp_path):
    """All parts in this process, whose start-up they share; two of them ran in their own above."""

    def run_part(name, *, smollm2, seconds, limit):
        return json.loads(json.dumps(gpu_parts.PARTS[name].measure(Setting(SMALL, 1.0, smollm2))))

    monkeypatch.setattr(gpu, "run_part", run_part)
    monkeypatch.setattr(gpu, "installed", lambda: {"torch": "another state than the other tests'"})
    monkeypatch.setattr(sys, "argv", ["bench.gpu", "--out", str(tmp_path / "gpu-cpu.json")])
    gpu.main()
    record = json.loads((tmp_path / "gpu-cpu.json").read_text())
    assert not benches.missing_keys(record) and record["name"] == "gpu-cpu"
    found = {line["name"]: line["value"] for line in record["measurements"]}
    assert list(found) == [line.name for line in lines.LINES]
    here = {name for name in found if not name.startswith(("smollm2", "variants", "generation-seconds"))}
    assert all(found[name] > 0 for name in here) and not any(found[name] for name in found.keys() - here)
    assert found["full-rows-ratio"] == pytest.approx(found["full-rows"] / found["full-rows-published"], rel=1e-4)
    assert "variants takes a CUDA device" in record["notes"][-1] and "liger-kernel" in record["notes"][-1]
    assert all(line["target"] is None for line in record["measurements"])


def test_variants_that_fail_are_told_and_end_nothing(setting, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **told: None)
    found = gpu_checks.variants(Setting(SMALL, 1.0))
    assert set(found["found"]) == {"variants-compile-rows", "variants-compile-memory"}
    assert "liger could not be measured (ModuleNotFoundError" in found["notes"][0]
