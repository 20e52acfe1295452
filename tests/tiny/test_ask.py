"""A question to one's own file by a tiny model: answer, samples, the weights of a run, and the command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.ask import agreed, ask, load_run, open_copy
from common.ask.__main__ import main
from common.ask.export import export
from common.ask.shop import write_shop
from common.ask.weights import load_folder, weights_of
from common.generation import complete
from common.models import load_model, locate, weights_digest
from common.profiles import LARGER_TINY_MODEL, TINY_MODEL, resolve
from common.prompts import extract_sql, prompt_ids
from common.releases import FOLDER
from common.results.ledger import folder
from common.settings import ROOT, UserError, outputs, run_cli
from common.training.adapters import adapt, save_weights
from common.training.recipe import Recipe
from tests.unit.records import record as record_of

QUESTION = "How many customers are there?"


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def tiny():
    return load_model(TINY_MODEL)


def test_the_answer_is_the_greedy_one_and_the_file_is_as_it_was(shop, tiny, capsys):
    before = shop.read_bytes()
    with open_copy(shop) as copy:
        answer, example = ask(tiny, copy, f"  {QUESTION} ", max_new_tokens=16, stream=True)
        assert example.question == QUESTION and "INSERT INTO customers" in example.schema
        (completion,) = complete(tiny, [prompt_ids(example, tiny.tokenizer)], max_new_tokens=16)
        assert answer.sql == extract_sql(completion.text)
        assert capsys.readouterr().out.strip() == completion.text.strip()
        assert answer.is_cut and (answer.votes, answer.of) == (0, 1)  # 16 tokens hold no whole answer
        sampled = agreed(tiny, copy, example, answer, samples=3, max_new_tokens=16)
        again = agreed(tiny, copy, example, answer, samples=3, max_new_tokens=16)
    assert sampled == again
    assert sampled.of == 4 == sampled.votes + sampled.cut + sum(votes for _, votes in sampled.others)
    assert shop.read_bytes() == before


def test_questions_that_cannot_be_put(shop, tiny):
    with open_copy(shop) as copy:
        with pytest.raises(UserError, match="there is no question"):
            ask(tiny, copy, " ")
        with pytest.raises(UserError, match="ask about fewer tables"):
            ask(tiny, copy, "word " * 5_000)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    """A LoRA adapter that changes answers."""
    recipe = Recipe(method="lora", lora_rank=4, lora_alpha=8, lora_targets=("q_proj", "v_proj"))
    model = adapt(load_model(TINY_MODEL), recipe)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.5, generator=generator)
    path = outputs() / "runs" / "smoke" / "own-0123456789" / "training" / "weights"
    path.parent.mkdir(parents=True)
    save_weights(model, path)
    return path


def logits(loaded) -> torch.Tensor:
    with torch.inference_mode():
        return loaded.model(torch.tensor([[5, 6, 7]])).logits


def test_a_run_is_its_record_and_the_weights_of_that_digest(adapter, tiny):
    with pytest.raises(UserError, match="no record 'own' at the profile smoke"):
        load_run("own", profile="smoke")
    place = folder("smoke")
    place.mkdir(parents=True, exist_ok=True)
    record = record_of("own", [], profile="smoke")
    record["model"] |= {"weights_digest": weights_digest(adapter), "quantisation": ""}
    (place / "own.json").write_text(json.dumps(record))
    trained = load_run("own", profile="smoke")
    assert not torch.equal(logits(trained), logits(tiny))
    assert torch.equal(logits(load_folder(adapter, profile="smoke")), logits(trained))
    assert torch.equal(logits(load_run(profile="smoke")), logits(tiny))
    record["model"]["weights_digest"] = "0" * 16
    (place / "own.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="weights of 'own' are not on this machine.*make run PROFILE=smoke"):
        load_run("own", profile="smoke")
    record["model"]["weights_digest"] = ""
    (place / "own.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="'own' trained nothing"):
        load_run("own", profile="smoke")


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_a_folder_of_anything_else(tmp_path, adapter):
    with pytest.raises(UserError, match="holds no trained weights"):
        load_folder(tmp_path, profile="smoke")
    with pytest.raises(UserError, match="holds no adapter of tiny-random-qwen3-4-layers, or not all"):
        load_folder(adapter, profile="smoke", model_id=LARGER_TINY_MODEL)
    # Under a folder's name the base may be any; then the modules decide.
    larger = locate(LARGER_TINY_MODEL)[0]
    with pytest.raises(UserError, match="or not all"):
        load_folder(adapter, profile="smoke", model_id=larger)
    same = load_folder(adapter, profile="smoke", model_id=locate(TINY_MODEL)[0])
    assert torch.equal(logits(same), logits(load_folder(adapter, profile="smoke")))


def test_merged_weights_answer_as_the_adapter_does(adapter, tmp_path, monkeypatch):
    record = record_of("merged", [], profile="smoke")
    record["model"] |= {"weights_digest": weights_digest(adapter)}
    record["model"].pop("quantisation", None)  # as older records lack it
    (folder("smoke") / "merged.json").write_text(json.dumps(record))
    target = export("merged", tmp_path / "new", profile="smoke")
    merged, beside = load_model(str(target)), load_run("merged", profile="smoke")
    torch.testing.assert_close(logits(merged), logits(beside), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="is there already"):
        export("merged", target, profile="smoke")
    monkeypatch.setattr(type(merged.tokenizer), "save_pretrained", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export("merged", tmp_path / "half", profile="smoke")
    assert not list((tmp_path / "half").iterdir())  # so that the same command can be called again


def test_a_run_on_a_part_of_the_rows_answers_too(adapter, tiny):
    """As after plain `make run`, whose record lies apart from the committed one of the same name."""
    committed, here = (record_of("part", [], profile="smoke") for _ in range(2))
    committed["model"] |= {"weights_digest": "0" * 16, "quantisation": ""}
    here["model"] |= {"weights_digest": weights_digest(adapter), "quantisation": ""}
    for place, record in ((folder("smoke"), committed), (outputs() / "results" / "smoke@01234567", here)):
        place.mkdir(parents=True, exist_ok=True)
        (place / "part.json").write_text(json.dumps(record))
    assert not torch.equal(logits(load_run("part", profile="smoke")), logits(tiny))
    other = json.loads((outputs() / "results" / "smoke@01234567" / "part.json").read_text())
    other["data"]["source"] = "spider"  # an adapter of other data stands behind that of the committed record
    (outputs() / "results" / "smoke@01234567" / "part.json").write_text(json.dumps(other))
    committed["model"]["weights_digest"] = weights_digest(adapter)
    (folder("smoke") / "part.json").write_text(json.dumps(committed))
    assert weights_of("part", resolve("smoke"))[1]["data"]["source"] == "embedded"
    (outputs() / "results" / "smoke@01234567" / "part.json").write_text("damaged")
    assert weights_of("part", resolve("smoke"))[1]["data"]["source"] == "embedded"
    committed["model"]["weights_digest"] = "0" * 16
    (folder("smoke") / "part.json").write_text(json.dumps(committed))
    with pytest.raises(UserError, match="weights of 'part' are not on this machine"):
        load_run("part", profile="smoke")


def test_a_released_adapter_answers_where_the_run_is_not_on_this_machine(adapter, tiny, monkeypatch):
    record = record_of("shipped", [], profile="smoke")
    record["model"] |= {"weights_digest": weights_digest(adapter), "quantisation": ""}
    (folder("smoke") / "shipped.json").write_text(json.dumps(record))
    before = logits(load_run("shipped", profile="smoke"))
    monkeypatch.setattr("common.ask.weights._weights", lambda _: iter(()))  # the run's own folder is not there
    with pytest.raises(UserError, match="weights of 'shipped' are not on this machine"):
        load_run("shipped", profile="smoke")
    release = shutil.copytree(adapter, folder("smoke") / FOLDER / "shipped")
    assert torch.equal(logits(load_run("shipped", profile="smoke")), before)
    record["model"]["weights_digest"] = "0" * 16  # a run made since by other settings
    (folder("smoke") / "shipped.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="weights of 'shipped' are not on this machine"):
        load_run("shipped", profile="smoke")
    shutil.rmtree(release)


def run_ask(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "common.ask", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_a_slip_is_told_before_torch_is_there():
    code = "import sys; from common.ask.__main__ import main; sys.argv = ['ask', 'x', ' ']\n"
    code += "try: main()\nexcept Exception as error: print(error, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "there is no question; write it in quotes behind the file False\n", done.stderr


def test_the_command(shop):
    done = run_ask(str(shop), QUESTION, "--profile", "smoke", "--samples", "2", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == (answer["outcome"] != "ran") and answer["of"] == 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("gone.sqlite", "?"), "error: there is no file gone.sqlite; give the path of a SQLite database"),
        (("README.md", "?"), "error: README.md is no SQLite database"),
        (("README.md", "?", "--samples", "-1"), "error: --samples and --rows are numbers from 0 on"),
        (("README.md", "?", "--run", "x", "--adapter", "y"), "error: give --run or --adapter, not both"),
        (("README.md", "K\udce4ufer?"), "error: the question is not UTF-8; type it in a terminal that writes UTF-8"),
    ],
)
def test_mistakes_end_in_one_line(arguments, line, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["ask", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_cli(main)
    out, error = capsys.readouterr()
    assert stop.value.code == 2 and not out
    assert error.startswith(line) and error.count("\n") == 1
