"""All runs as tables and sentences: starting points, fronts, findings, the list of notebooks, on records made here."""

from io import BytesIO

import PIL.Image
import PIL.ImageChops
import pytest

from common import overview as figures
from common import results
from common.pictures import shrink
from common.results import catalogue, findings, overview
from common.results.ledger import folder
from common.results.places import notebook_paths
from common.results.planned import PLANNED
from common.results.published import METHODS, SCORES
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place  # every test has a ledger of its own
RIGHT, WRONG = "y" * 40, "n" * 40


def trained(method: str, right: str, **changes) -> None:
    changes = {"model": {"trainable_parameters": 8, "adapter": "lora"}} | changes
    write(method, right, cost={"train_seconds": 60.0, "peak_memory_bytes": 2_000_000_000}, **changes)


@pytest.mark.parametrize(
    ("method", "model", "start"),
    [
        ("baseline-3shot", {}, ""),
        ("example-lora", {"trainable_parameters": 8}, "baseline"),
        ("example-qlora", {"trainable_parameters": 8, "quantisation": "nf4"}, "baseline-nf4"),
        ("sft-dpo", {"trainable_parameters": 8}, "sft-lora"),
        ("grpo-sft-anchored", {"trainable_parameters": 8}, "sft-lora"),
        ("grpo-lr1e5", {"trainable_parameters": 8}, "baseline"),
    ],
)
def test_where_a_run_started(method, model, start):
    assert overview.start_of(record(method, predictions("yn"), model=model)) == start


def test_the_final_table(place):
    write("baseline", WRONG)
    trained("sft-lora", "y" * 20 + "n" * 20)
    trained("sft-dpo", RIGHT)
    table = overview.final_table(folder("cpu"))
    assert table.loc["baseline", "started from"] == "–" == table.loc["baseline", "− start [95 %]"]
    assert table.loc["sft-lora", "started from"] == "baseline"
    assert table.loc["sft-lora", "− start [95 %]"].startswith("+0.500 [")
    assert table.loc["sft-dpo", "started from"] == "sft-lora"
    assert (
        table.loc["sft-dpo", "− start [95 %]"].startswith("+0.500 [") and table.loc["sft-dpo", "p (Holm)"] == "<0.001"
    )
    minutes = table["search and training, min (+ its start's)"]
    assert minutes.to_dict() == {"baseline": "–", "sft-lora": "1.0", "sft-dpo": "1.0 + 1.0"}
    assert table.loc["sft-dpo", "memory, GB"] == "2.0"


def test_the_costs_of_a_run_are_of_all_that_it_takes_from_the_model_as_it_comes(place):
    write("baseline", WRONG)
    for method, minutes, memory in (("sft-lora", 3, 4), ("sft-dpo", 1, 2), ("example-lora", 2, 3)):
        cost = {"train_seconds": 60.0 * minutes, "search_seconds": 30.0, "peak_memory_bytes": memory * 1_000_000_000}
        write(method, RIGHT, model={"trainable_parameters": 8, "adapter": "lora"}, cost=cost)
    table = overview.costs(results.entries.select(folder("cpu")))
    assert table["minutes"].to_dict() == {"sft-lora": 3.5, "sft-dpo": 5.0, "example-lora": 2.5}
    assert table["memory"].to_dict() == {"sft-lora": 4.0, "sft-dpo": 4.0, "example-lora": 3.0}
    path = folder("cpu") / "sft-lora.json"
    path.write_text(path.read_text().replace('"device": "', '"device": "another than '))
    entries = {entry.method: entry for entry in results.entries.select(folder("cpu"))}
    names = ("baseline", "sft-lora", "sft-dpo", "example-lora")  # the first is the tables' first
    assert overview.costs([entries[name] for name in names]).index.tolist() == ["example-lora"]
    minutes = overview.final_table(folder("cpu"))["search and training, min (+ its start's)"]
    assert minutes["sft-dpo"] == "1.5" and minutes["sft-lora"] == "–"
    (folder("cpu") / "sft-lora.json").unlink()  # what it started from is unknown, and so is what it cost
    assert overview.costs(results.entries.select(folder("cpu"))).index.tolist() == ["example-lora"]


def test_stages_and_published_scores(place):
    write("baseline", WRONG)
    stage = {"stage": 3, "train_rows": 320, "valid_rows": 96, "trials": 1, "best": {"loss": 0.25, "match": 0.5}}
    trained("sft-lora", RIGHT, stages=[stage])
    rewards = {"recipe": {"reward": [["robust", 1.0]], "score_rows": 96}}
    trained("grpo-sft", RIGHT, parameters=rewards, stages=[stage | {"train_rows": 83, "valid_rows": 32}])
    table = overview.stage_table(folder("cpu"))
    assert table.loc[("sft-lora", 3)].tolist() == ["320", "96", 1, "0.250", "–", "0.500"]
    # What a training by rewards records as its loss is the divergence, over rows of its own.
    assert table.loc[("grpo-sft", 3)].tolist() == ["83", "96", 1, "–", "0.250", "0.500"]
    published = overview.published_table(folder("cpu"))
    assert list(published.index) == list(SCORES) and SCORES.keys() == METHODS.keys()
    assert published.loc["LoRA, r 64, all linear"].tolist() == ["0.774", "sft-lora", "1.000", "1.000"]
    assert published.loc["DPO", "its robust match here"] == "–"


def test_records_of_ones_own_go_before_the_committed_ones(place, tmp_path):
    assert overview.records_of(tmp_path / "none", "cpu") == folder("cpu")
    write("baseline", "yn", tmp_path / "own")
    assert overview.records_of(tmp_path / "own", "cpu") == tmp_path / "own"


def test_the_front_is_what_nothing_beats():
    points = [(1.0, 0.5), (2.0, 0.4), (2.0, 0.6), (3.0, 0.6), (0.5, 0.1), (1.0, 0.5)]
    assert overview.pareto(points) == [4, 0, 5, 2]
    assert overview.pareto([]) == []


def test_findings_say_higher_only_where_the_test_does(place):
    write("baseline", WRONG)
    assert findings.markdown(folder("cpu")) == ""
    trained("example-lora", RIGHT)
    trained("example-dpo", "y" + "n" * 39)
    trained("sft-lora", "n" + "y" * 39)
    lines = findings.markdown(folder("cpu")).splitlines()
    assert len(lines) == 3
    assert findings.markdown(folder("cpu"), headlines=True).splitlines() == lines[:2]
    assert lines[0].startswith(
        "- **One pass of LoRA over a few hundred rows** against the model as it comes: higher. "
        "Robust match 1.000 against 0.000, +1.000 ["
    )
    assert "against LoRA with the profile's, one pass: no difference that 40 rows could show." in lines[1]
    assert (
        "against the model that it starts from: no difference that 40 rows could show. Robust match 0.025" in lines[2]
    )
    trained("example-lora", WRONG)
    assert "LoRA with the profile's, one pass: higher." in findings.markdown(folder("cpu"))
    write("baseline", RIGHT)
    assert "against the model as it comes: lower." in findings.markdown(folder("cpu"))


def test_every_question_is_a_planned_pair():
    pairs = {(method, other) for method, other, *_ in findings.QUESTIONS}
    assert {pair for pair in pairs if pair[1] != "baseline"} <= set(PLANNED) and len(pairs) == len(findings.QUESTIONS)
    assert set(findings.HEADLINES) <= pairs and len(findings.HEADLINES) <= 8


def test_the_list_of_notebooks(place):
    text = catalogue.markdown()
    assert text.count("\n") == len(notebook_paths()) + 1 and "| – | – |" in text
    write(
        "example-lora", "yn", notebook="examples/train_lora.ipynb", cost={"train_seconds": 600.0, "eval_seconds": 60.0}
    )
    line = next(line for line in catalogue.markdown().splitlines() if "train_lora" in line)
    assert line.startswith("| [examples/train_lora.ipynb](../examples/train_lora.ipynb) | How much")
    assert line.endswith("| `example-lora` | 11 |")
    for method, seconds in (("sft-qlora", 60.0), ("sft-qlora-merged", 120.0)):  # one training, two evaluations
        cost = {"search_seconds": 300.0, "train_seconds": 600.0, "eval_seconds": seconds}
        write(method, "yn", notebook="sft/qlora.ipynb", cost=cost)
    line = next(line for line in catalogue.markdown().splitlines() if "sft/qlora" in line)
    assert line.endswith("| `sft-qlora`, `sft-qlora-merged` | 18 |")


def test_pictures(place):
    write("baseline", "ynnn")
    trained("example-lora", "yyyn")
    curve = results.ledger  # a curve beside the record, as a run writes it
    (folder("cpu") / "example-lora.curve.csv").write_text("step,loss,eval_match\n0,,0.25\n1,2.0,\n4,1.0,0.75\n")
    path = folder("cpu") / "example-lora.json"
    path.write_text(path.read_text().replace('"curve": ""', '"curve": "example-lora.curve.csv"'))
    assert curve.read_record(folder("cpu"), "example-lora")["curve"]
    for picture in (figures.runs_image, figures.costs_image, figures.outcomes_image):
        content = picture(folder("cpu")).data
        image = PIL.Image.open(BytesIO(content))
        assert image.mode == "P" and image.width > 700 and len(set(image.get_flattened_data())) > 5
        assert content == picture(folder("cpu")).data


def test_shares_of_outcomes(place):
    write("baseline", "yynn")
    write("other", "nn?n")
    entries = results.entries.select(folder("cpu"))
    table = figures.outcome_shares(entries)
    assert table.loc["baseline"].tolist() == [0.5, 0.5, 0, 0, 0]
    assert table.loc["other", "other"] == pytest.approx(0.25)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_in_a_picture_is_white(mode):
    """Half of it is transparent black, in whatever way a PNG says so; in the rest there are more colours than stay."""
    picture, content = (
        PIL.Image.effect_noise((64, 64), 90).point(lambda value: max(9, value)).convert("RGBA"),
        BytesIO(),
    )
    picture.paste((200, 200, 200, 255), (0, 56, 64, 64))
    picture.paste((0, 0, 0, 0), (0, 0, 64, 32))
    options = {}
    if mode in ("P", "RGB", "L"):  # one colour stands for it
        picture = picture.convert("RGB").convert(mode)
        options["transparency"] = picture.getpixel((0, 0))
    else:
        picture = picture.convert(mode)
    picture.save(content, format="png", **options)
    assert PIL.Image.open(content).has_transparency_data
    small = PIL.Image.open(BytesIO(shrink(content.getvalue())))
    assert small.mode == "P" and not small.has_transparency_data
    assert small.convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    assert small.convert("RGB").getpixel((5, 60))[0] < 220


def test_a_picture_of_few_colours_is_the_same_picture_in_fewer_bytes(place):
    from matplotlib.figure import Figure

    figure, content = Figure(figsize=(6, 3)), BytesIO()
    figure.subplots().plot([1, 3, 2], color="#08306b")
    figure.savefig(content, format="png")
    small = shrink(content.getvalue())
    one, other = (PIL.Image.open(BytesIO(picture)).convert("RGB") for picture in (content.getvalue(), small))
    assert len(small) < 0.6 * len(content.getvalue()) and one.size == other.size
    worst = PIL.ImageChops.difference(one, other).getextrema()
    assert max(high for _, high in worst) < 40
    assert shrink(small) == small or len(shrink(small)) < len(small)
