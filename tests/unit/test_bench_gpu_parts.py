"""Which parts of the GPU bench run and when, what is kept, its processes, and a record from a narrow model."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from bench import gpu, gpu_parts, tables
from bench import gpu_lines as lines
from bench.gpu_model import SMALL, Setting
from common.settings import ROOT, UserError

pytestmark = pytest.mark.usefixtures("one_thread")
DIFFERENCES = {"head-loss", "tree-sft-loss", "tree-pair-loss", "tree-group-loss"}  # ours against TRL's, may be 0


# Which parts run, and when


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """Runs the scheduler over invented parts that take no time; returns (run, names that were begun)."""
    begun = []
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: 0.0))

    def run_part(name, *, smollm2, seconds, limit):
        begun.append((name, round(seconds), round(limit)))
        if name == "lora":
            raise RuntimeError("failed: it did not fit in the device's memory")
        return {"values": {f"{name}-rows": [1.0]}, "notes": [f"{name} was run"]}

    monkeypatch.setattr(gpu, "run_part", run_part)

    def run(*names, left=1000.0, device="NVIDIA H200", smollm2="", scale=1.0):
        begun.clear()
        return gpu.measure(names, tmp_path, device=device, smollm2=smollm2, scale=scale, deadline=left)

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
    assert told == {"generation": "was not begun: 60 s were left, it needs 120; call again"}
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


def test_targets_are_an_h200s_but_for_memory_loss_and_a_grpo_step():
    def targets(device):
        return {m["name"] for m in gpu.measurements({}, device) if m["target"]}

    everywhere = {"loss", "t4-full-memory", "t4-lora-memory", "t4-qlora-memory", *DIFFERENCES}
    assert targets("Tesla T4") == everywhere and targets("") == set()
    assert targets("NVIDIA H100 PCIe") == everywhere | {"grpo-completions"}
    rates = {"full-rows", "lora-rows", "qlora-rows", "generation-seconds", "grpo-completions"}
    assert targets("NVIDIA H200") == everywhere | rates
    with pytest.raises(ValueError, match="full-rowz"):
        gpu.measurements({"full": {"values": {"full-rowz": [1.0]}, "notes": []}}, "")


def test_lines_that_were_measured_have_values_and_ratios():
    found = {"full": {"values": {"full-rows-published": [80, 90, 100], "full-rows": [450, 480, 500]}, "notes": []}}
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
    assert "| a GRPO step, LoRA, ours: completions | – | – | 0 | ≥ 60 completions/s | not measured |" in text
    made = gpu.measurements({"full": {"values": {"full-rows": [500.0]}, "notes": []}}, "NVIDIA H200")
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


@pytest.mark.slow
def test_a_killed_command_leaves_no_part_behind_and_the_next_one_goes_on(tmp_path):
    folder = gpu.state_folder("", gpu.source_of_smollm2(""))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ceilings.json").write_text(json.dumps({"values": {"copy": [7.0, 9.0]}, "notes": ["from before"]}))
    (folder / "loss.json").write_text('{"values": {"lo')  # cut short: as good as absent
    command = [sys.executable, "-m", "bench.gpu", "--parts", "ceilings", "full", "--out", str(tmp_path / "r.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        (part,) = until(lambda: parts_of(started.pid))
    finally:
        started.kill()
        started.wait()
    until(lambda: not alive(part))
    assert not (folder / "full.json").exists()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "full: measured" in done.stderr and "ceilings" not in done.stderr
    record = json.loads((tmp_path / "r.json").read_text())
    assert not tables.missing_keys(record) and record["data"]["parts"] == ["ceilings", "full"]
    found = {line["name"]: line["value"] for line in record["measurements"]}
    assert found["copy"] == 8 and found["full-rows"] > 0 and "from before" in record["notes"]


END = """
import sys, time
from bench.gpu_parts import end_with
end_with(int(sys.argv[1]))
print("begun", flush=True)
time.sleep(3600)
"""
START = """
import os, subprocess, sys
part = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
part.stdout.readline()
print(part.pid, flush=True)
part.wait()
"""


def test_a_part_ends_with_the_command_in_the_middle_of_its_work(monkeypatch, capsys):
    started = subprocess.Popen([sys.executable, "-c", START, END], cwd=ROOT, stdout=subprocess.PIPE)
    part = int(started.stdout.readline())
    assert alive(part)
    started.kill()
    started.communicate()
    until(lambda: not alive(part))
    parents = []
    monkeypatch.setattr(gpu_parts, "end_with", parents.append)
    monkeypatch.setitem(gpu_parts.PARTS, "full", gpu_parts.Part(lambda setting: {"notes": parents}, 1))
    monkeypatch.setattr(sys, "argv", ["gpu_parts", "full", "--seconds", "1", "--parent", "7"])
    gpu_parts.main()
    assert json.loads(capsys.readouterr().out) == {"notes": [7]}


def until(condition):
    end = time.monotonic() + 600
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def parts_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "gpu_parts full" in line]


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended may still wait for somebody to ask how."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_part_that_runs_too_long_is_ended():
    with pytest.raises(RuntimeError, match="was ended after 0 s"):
        gpu.run_part("ceilings", smollm2="", seconds=1, limit=0.01)


def test_what_a_part_cannot_do_comes_through_in_one_line():
    with pytest.raises(RuntimeError, match=r"^failed: there is no model folder './none'"):
        gpu.run_part("smollm2-generation", smollm2="./none", seconds=1, limit=900)


@pytest.mark.slow
def test_every_part_runs_on_a_cpu_and_makes_a_record(monkeypatch, tmp_path):
    """All parts in this process, whose start-up they share; two of them ran in their own above."""

    def run_part(name, *, smollm2, seconds, limit):
        return json.loads(json.dumps(gpu_parts.PARTS[name].measure(Setting(SMALL, 1.0, smollm2))))

    monkeypatch.setattr(gpu, "run_part", run_part)
    monkeypatch.setattr(gpu, "installed", lambda: {"torch": "another state than the other tests'"})
    monkeypatch.setattr(sys, "argv", ["bench.gpu", "--out", str(tmp_path / "gpu-cpu.json")])
    gpu.main()
    record = json.loads((tmp_path / "gpu-cpu.json").read_text())
    assert not tables.missing_keys(record) and record["name"] == "gpu-cpu"
    found = {line["name"]: line["value"] for line in record["measurements"]}
    assert list(found) == [line.name for line in lines.LINES]
    here = {name for name in found if not name.startswith(("smollm2", "variants", "generation-seconds"))}
    assert all(found[name] > 0 for name in here - DIFFERENCES)
    assert all(0 <= found[name] < 0.01 for name in DIFFERENCES)  # per cent
    assert not any(found[name] for name in found.keys() - here)
    assert found["full-rows-ratio"] == pytest.approx(found["full-rows"] / found["full-rows-published"], rel=1e-4)
    assert "variants takes a CUDA device" in record["notes"][-1] and "liger-kernel" in record["notes"][-1]
    assert all(line["target"] is None for line in record["measurements"])
