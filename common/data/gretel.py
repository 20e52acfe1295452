"""gretel's synthetic_text_to_sql from the Hugging Face hub, split as the published study split it."""

from common.data.cells import CellError, example, texts
from common.data.example import Example
from common.data.notices import notice
from common.data.splits import TESTS, without_post
from common.hub import hub_commit, no_hub
from common.settings import UserError

GRETEL = "gretelai/synthetic_text_to_sql"


def is_gretel(source: str) -> bool:
    """Whether a source is `gretel` or `gretel@REVISION`."""
    return source == "gretel" or source.startswith("gretel@")


def load(source: str, split: str, limit: int | None, *, seed: int) -> list[Example]:
    """The split's first rows, at most `limit`. A row that lacks its question, schema or reference is left out, and the
    user hears of it; the others keep their ids and their order. `post` is the end of what the study trained on."""
    if split in TESTS[1:]:
        raise UserError(f"gretel has the splits train, validation, test and post; {split} is only in embedded")
    revision, name = commit(source), "test" if split == "test" else "train"
    import datasets

    try:
        rows = datasets.load_dataset(GRETEL, split=name, revision=revision)
    except Exception as error:  # the hub's client raises a dozen kinds
        raise no_hub(GRETEL, error) from None
    if split != "test":
        # The published split: 2.5 % for validation, datasets' own shuffle.
        parts = rows.train_test_split(test_size=0.025, seed=seed)
        rows = parts["test" if split == "validation" else "train"]
    if split in ("train", "post"):
        rows = rows.select(without_post(range(len(rows)), split))
    examples, gaps = [], []
    for row in rows:
        id = f"gretel-{name}-{row['id']}"
        try:
            examples.append(example(texts(row), id))
        except CellError as error:
            gaps.append(f"{id} with {error}")
        if len(examples) == limit:
            break
    if gaps:
        line = f"{source}: {len(gaps)} of the first {len(examples) + len(gaps)} rows in split '{split}' are left out, "
        notice(f"{line}the first is {gaps[0]}", "gaps", source, split)
    return examples


def commit(source: str) -> str:
    """The hub's commit that a source stands for."""
    return hub_commit(GRETEL, source.partition("@")[2], kind="dataset")
