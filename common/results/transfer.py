"""Runs on other data than the profile's, as aggregates: does the order of the methods hold there?

`<folder of runs>/transfer/<source>.json` is made of the records of one folder below `outputs/results/`, whose rows are
not ours to publish: figures and paired differences, no question, no answer. `transfer.md` sets them beside the
profile's own data. Not covered: runs of two sources or two base models in one file.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.data.splits import TESTS
from common.paths import model_name, source_name
from common.profiles import PROFILES, Profile
from common.provenance import digest
from common.results.comparable import same_base
from common.results.entries import Entry, select
from common.results.formats import interval, number, p_value
from common.results.ledger import BASELINE, folder, read_object, read_records
from common.results.planned import planned
from common.results.tables import pipes
from common.settings import UserError, relative, replace_text, writable, writing
from common.statistics.concordance import tau_b

FOLDER, REPORT = "transfer", "transfer.md"
COMMAND = "python -m common.results readme"
_AGAIN = "delete it, or write it anew: `python -m common.results transfer --folder FOLDER`"
_SECTIONS = ("method", "notebook", "seed", "metrics", "outcomes", "slices", "cost", "code", "environment", "parameters")
_SHARED = ("profile", "data", "scoring", "decoding")
_FEWEST = 3  # runs that have an order


def save(source: Path) -> list[Path]:
    """Write the aggregates of the records in the folder `source`, and transfer.md beside; returns both paths.

    Raises UserError where the folder has no records that may stand side by side, has those of the profile's own data,
    or the baseline is not among them.
    """
    entries = [entry for entry in select(source) if entry.rows]
    baseline = next((entry.record for entry in entries if entry.method == BASELINE), None)
    if baseline is None:
        raise UserError(f"{relative(source)} has no record '{BASELINE}' to compare the others with; run it there first")
    profile, name = PROFILES[baseline["profile"]], baseline["data"]["source"]
    place, record = folder(profile.name), baseline
    if name == source_name(profile.data):
        raise UserError(f"{relative(source)} is on {name}, the profile's own data; its records are published whole")
    entries = [entry for entry in entries if same_base(entry.record, baseline)]
    path = writable(place / FOLDER) / f"{_file_name(name, baseline['model']['id'], profile)}.json"
    content = {key: record[key] for key in _SHARED} | {
        "model": {key: record["model"][key] for key in ("id", "revision")},
        "runs": [_run(entry) for entry in entries],
        "pairs": _pairs(entries),
    }
    with writing(path):
        replace_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        replace_text(place / REPORT, markdown(place) + "\n")
    return [path, place / REPORT]


def _file_name(source: str, model_id: str, profile: Profile) -> str:
    """The source's name, with a digest where it is no file's name or the model is not the profile's."""
    plain = re.fullmatch(r"[a-z0-9-]+", source) and model_id == model_name(profile.model_id)
    return (
        source if plain else f"{re.sub(r'[^a-z0-9]+', '-', source.lower()).strip('-')}-{digest(source, model_id)[:8]}"
    )


def _run(entry: Entry) -> dict:
    """What may be told of a run without its rows."""
    return {key: entry.record[key] for key in _SECTIONS} | {"model": entry.record["model"]}


def _pairs(entries: Sequence[Entry]) -> list[dict]:
    table = planned(entries)
    columns = ["value", "low", "high", "n", "p", "p_holm", "discordant", "groups"]
    return [
        {"method": method, "other": other} | {name: _plain(row[name]) for name in columns}
        for (method, other), row in table.iterrows()
    ]


def _plain(value: float) -> float | None:
    """As JSON has it: six digits, None for what is no number."""
    return None if value != value else float(f"{value:.6g}")


def sources(place: Path) -> list[dict]:
    """The aggregates beside a folder of runs, one entry a source of data and base model. Raises UserError for a file
    that holds none."""
    return [read_object(path, _AGAIN) for path in _paths(place)]


def _paths(place: Path) -> list[Path]:
    return sorted((place / FOLDER).glob("*.json"), key=lambda path: path.stem)


def markdown(place: Path) -> str:
    """The text of transfer.md for a folder of runs: a part for each other source of data. Raises UserError for a file
    that lacks what aggregates have."""
    parts = ["# The same methods on other data"]
    for path, content in zip(_paths(place), sources(place), strict=True):
        try:
            parts += [f"## {content['data']['source']}", _sentence(content), _table(content, place)]
            parts += _orders(content, place)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); {_AGAIN}") from None
    return "\n\n".join(parts)


def _sentence(content: Mapping) -> str:
    rows = content["data"]["n"]
    return (
        f"{rows:,} rows of `{content['data']['split']}`, {content['model']['id']}; trained, where a method trains, "
        f"on rows of the same source by the settings of profile `{content['profile']}`. Differences are paired, p is "
        f"Holm's over all {len(content['pairs'])} planned pairs. Figures alone: the rows are not ours."
    )


def _table(content: Mapping, place: Path) -> str:
    pairs = {pair["method"]: pair for pair in content["pairs"] if pair["other"] == BASELINE}
    here = _by_method(content, place)
    head = ["method", "robust match [95 %]", "robust match − baseline [95 %]", "p (Holm)"]
    lines = []
    for run in content["runs"]:
        pair, entry = pairs.get(run["method"], {}), here.get(run["method"])
        shares = [number(entry.right(split).get("value") if entry else None) for split in TESTS]
        line = [
            f"`{run['method']}`",
            interval(run["metrics"]["right"]),
            interval(pair, "+"),
            p_value(pair.get("p_holm")),
        ]
        lines.append([*line, *shares])
    return pipes([*head, *(f"own data, {split}" for split in TESTS)], lines)


def _by_method(content: Mapping, place: Path) -> dict[str, Entry]:
    """The folder's own runs of the same base model, by method."""
    entries = [Entry(record, place) for record in read_records(place)]
    return {entry.method: entry for entry in entries if entry.rows and same_base(entry.record, content)}


def _orders(content: Mapping, place: Path) -> list[str]:
    """How far the order of the runs is that of the profile's own splits."""
    here = _by_method(content, place)
    runs = [run for run in content["runs"] if run["method"] in here]
    if len(runs) < _FEWEST:
        return []
    scores = [run["metrics"]["right"]["value"] for run in runs]
    texts = []
    for split in TESTS:
        values = [here[run["method"]].right(split).get("value") for run in runs]
        if None not in values:
            texts.append(f"{number(tau_b(scores, values))} with `{split}`")
    if not texts:
        return []
    head = f"Kendall's tau-b of the {len(runs)} runs' order here with that on the profile's own data: "
    return [head + ", ".join(texts) + ". One is the same order, minus one the opposite; few runs make it coarse."]


def check(place: Path) -> None:
    """Raises UserError where the folder's transfer.md is not what its aggregates and records give."""
    path = place / REPORT
    current = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if current != (markdown(place) + "\n" if sources(place) else ""):
        raise UserError(f"{place.name}/{REPORT} differs from the records; `{COMMAND}` writes it anew")


def follow(place: Path) -> None:
    """Write transfer.md anew, which shows the folder's own records too; it goes where there are no aggregates."""
    if sources(place):
        replace_text(place / REPORT, markdown(place) + "\n")
    else:
        (place / REPORT).unlink(missing_ok=True)
