"""gretel's synthetic_text_to_sql from the Hugging Face hub, split as the published study split it."""

from common.data.cells import CellError, example, texts
from common.data.example import Example
from common.data.notices import notice
from common.hub import hub_commit, no_hub
from common.settings import UserError

GRETEL = "gretelai/synthetic_text_to_sql"


def is_gretel(source: str) -> bool:
    """Whether a source is `gretel` or `gretel@REVISION`."""
    return source == "gretel" or source.startswith("gretel@")


def load(source: str, split: str, limit: int | None, *, seed: int) -> list[Example]:
    """The split's first rows, at most `limit`. A row that lacks its question, schema or reference is left out, and the
    user hears of it; the others keep their ids and their order."""
    if split == "test_unseen":
        raise UserError("gretel has the splits train, validation and test; test_unseen is only in embedded and spider")
    revision, name = commit(source), "test" if split == "test" else "train"
    import datasets

    try:
        rows = datasets.load_dataset(GRETEL, split=name, revision=revision)
    except Exception as error:  # the hub's client raises a dozen kinds
        raise no_hub(GRETEL, error) from None
    if split != "test":
        # The published split: 2.5 % for validation, datasets' own shuffle.
        rows = rows.train_test_split(test_size=0.025, seed=seed)["train" if split == "train" else "test"]
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
