"""A model card of a trained run, made of its record: what a folder of weights needs to be understood elsewhere.

The header is the one that the Hugging Face hub reads. Says nothing that the record does not.
"""

from pathlib import Path

from common.results.formats import interval
from common.results.ledger import load, record_paths
from common.results.overview import start_of
from common.settings import UserError, outputs, relative, replace_text, writable, writing

_LIMITS = (
    "The questions are generated; a score on them says nothing about another data set.",
    "One run of one seed, unless the study's table says otherwise.",
    "It writes SQL that may be wrong, and that may change data: run it on a copy, or read it first.",
)


def card(record: dict) -> str:
    """Markdown with the hub's header. Raises UserError for a record of nothing trained."""
    model, data = record["model"], record["data"]
    if not model["trainable_parameters"]:
        raise UserError(f"'{record['method']}' trained nothing; a card is of trained weights")
    recipe = record["parameters"].get("recipe", {})
    sections = {data["split"]: record | {"n": data["n"]}, **record.get("splits", {})}
    header = [
        "---",
        "license: apache-2.0",
        f"base_model: {model['id']}",
        f"library_name: {'peft' if model['adapter'] not in ('', 'full') else 'transformers'}",
        "language: en",
        "tags: [text-to-sql, sqlite]",
        "---",
    ]
    lines = [
        f"# {record['method']}",
        f"{model['id']} adapted to text-to-SQL for SQLite by `{record['notebook']}`, from "
        f"`{start_of(record)}`. {model['trainable_parameters']:,} parameters were trained.",
        "## How well it answers",
        *(_score(name, section) for name, section in sections.items()),
        "## How it was made",
        f"- Data: `{data['source']}` at `{data['revision'][:12]}`; weights `{model.get('weights_digest', '')}`; commit "
        f"`{record['code']['commit'][:12]}`.",
        *(f"- {name}: `{value}`" for name, value in sorted(recipe.items()) if value not in ("", None)),
        "## Limits",
        *(f"- {line}" for line in _LIMITS),
    ]
    return "\n".join([*header, "", *_spaced(lines)]) + "\n"


def _score(split: str, section: dict) -> str:
    metrics = section["metrics"]
    scores = f"robust match {interval(metrics['right'])}, strict {interval(metrics['match'])}"
    return f"- `{split}`, {section['n']:,} questions: {scores}"


def _spaced(lines: list[str]) -> list[str]:
    """An empty line around each heading."""
    spaced: list[str] = []
    for line in lines:
        if line.startswith("#") and spaced:
            spaced.append("")
        spaced.append(line)
        if line.startswith("#"):
            spaced.append("")
    return spaced


def write_cards() -> list[Path]:
    """A card of every committed record of trained weights, below outputs/cards/; their paths."""
    paths = []
    for path in record_paths():
        record = load(path)
        if record["model"]["trainable_parameters"]:
            target = writable(outputs() / "cards" / record["profile"]) / f"{record['method']}.md"
            with writing(target):
                replace_text(target, card(record))
            paths.append(target)
            print(f"written: {relative(target)}")
    return paths
