"""The notebooks as a table: what each asks, and what its records say that it took. Made of the files alone."""

import json
from pathlib import Path

from common.results.ledger import folder, read_records
from common.results.measures import paths_of
from common.results.places import notebook_paths
from common.settings import ROOT

_TRAINING = ("search_seconds", "train_seconds", "validation_seconds")


def markdown(profile: str = "cpu") -> str:
    """For a page in docs/, one line a notebook, by folder: its question, the records of a profile that it wrote, and
    their minutes together on the machine that wrote them; a dash for one that has written none."""
    records = read_records(folder(profile))
    lines = []
    for path in notebook_paths():
        runs = [record for record in records if record["notebook"] == path.as_posix()]
        tables = [f"{table.parent.name}/{table.stem}" for table in paths_of(folder(profile), path.as_posix())]
        names = ", ".join(f"`{name}`" for name in sorted(record["method"] for record in runs) or tables)
        # A training that two records share, as trained and merged, took its time once.
        trainings = {tuple(record["cost"].get(name, 0.0) for name in _TRAINING) for record in runs}
        seconds = sum(map(sum, trainings)) + sum(record["cost"]["eval_seconds"] for record in runs)
        minutes = f"{seconds / 60:,.0f}" if seconds >= 60 else "–"
        lines.append([f"[{path.as_posix()}](../{path.as_posix()})", _question(path) or "–", names or "–", minutes])
    head = f"| notebook | question | records | minutes at `{profile}` |\n| --- | --- | --- | ---: |"
    return "\n".join([head, *("| " + " | ".join(cells) + " |" for cells in lines)])


def _question(path: Path) -> str:
    """The first paragraph below a notebook's title, "" where it begins with none."""
    cell = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"][0]
    text = "".join(cell.get("source", "")) if cell.get("cell_type") == "markdown" else ""
    paragraphs = [part for part in text.split("\n\n") if part and part[0] != "#"]
    return " ".join(paragraphs[0].split()) if paragraphs else ""
