"""Judge a file of predictions: `python -m common.score predictions.jsonl --references rows.csv`.

A prediction is a line with `completion` (or `prediction`, or `sql`), and the `id` of its reference; without ids, line n
belongs to reference n. References are a file of one's own (sql_prompt, sql_context, sql, and an id), or a split of the
study's data. A reference without a prediction counts as answered wrongly. Covers no model: whoever wrote the answers.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from common import paths
from common.data import Example, load_examples, load_file
from common.data.splits import SPLITS
from common.distributed import cpus
from common.extraction import extract_sql
from common.inputs import check_columns
from common.pipes import piped
from common.provenance import digest
from common.results import formats
from common.scoring import Scorer
from common.scoring.arguments import MOST_WORKERS
from common.settings import UserError, replace_text, run_cli
from common.statistics import FEWEST_GROUPS, METRICS, figures, schemas_of

COLUMNS = ("completion", "prediction", "sql")  # the first of them that a line has
NAMES = {
    "robust_match": "robust match",
    "match": "strict match",
    "published_match": "published match",
    "score": "score",
    "published_score": "published score",
    "rouge_l": "ROUGE-L",
    "scorable": "references that can be scored",
}


def read_predictions(path: str | Path) -> list[tuple[str, str]]:
    """(id, completion) of every line; the id is "" where lines have none.

    Raises UserError for a file that cannot be read, a line that is no object with a text, an id that comes twice, and a
    file of which only some lines have one.
    """
    file = _in_full(path)
    try:
        with file.open(encoding="utf-8-sig") as lines:  # never splitlines(): a completion may hold U+2028
            pairs = [_pair(line, f"line {number} of {file}") for number, line in enumerate(lines, 1) if line.strip()]
    except FileNotFoundError:
        raise UserError(f"there is no file {file}; give a .jsonl file of predictions") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error, "give a .jsonl file in UTF-8") from None
    if not pairs:
        raise UserError(f"{file} has no lines; a prediction is one with an id and a completion")
    ids = [id for id, _ in pairs]
    if any(ids) and not all(ids):
        raise UserError(f"only some lines of {file} have an id; give all of them one, or none")
    if any(ids) and len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise UserError(f"{file} has the id '{twice[:80]}' twice; a reference has one prediction")
    return pairs


def _in_full(path: str | Path) -> Path:
    """The path with its `~` written out. Raises UserError for that of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{str(path)[:200]} is in nobody's home; write the path in full, without ~") from None


def _unreadable(name: str | Path, error: Exception, advice: str) -> UserError:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return UserError(f"{str(name)[:200]} cannot be read ({reason}); {advice}")


def read_references(file: str | None, source: str | None, split: str, limit: int | None) -> list[Example]:
    """The rows of a file of one's own, or of a split of a source of data where there is no file.

    Raises UserError as `load_file` and `load_examples`, and for a path that the disk refuses to look at.
    """
    try:
        if file:
            check_columns(_in_full(file))
            return load_file(_in_full(file))
        data = paths.data(source or "")
        if paths.is_own_file(data):
            check_columns(data)
        return load_examples(data, split, limit=limit)
    except OSError as error:
        raise _unreadable(file or source, error, "give the path of a file that can be read") from None


def _pair(line: str, place: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError(f"{place} is no JSON; a prediction is an object on a line of its own") from None
    if not isinstance(row, dict):
        raise UserError(f"{place} is no object; it needs an id and a completion")
    text = next((row[name] for name in COLUMNS if name in row), None)
    if not isinstance(text, str):
        raise UserError(f"{place} has no text as {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}")
    id = row.get("id")
    return "" if id is None else str(id), text


def verdicts_file(text: str) -> Path:
    """The path for the verdicts, see `paths.output`."""
    return paths.output(text, "--output", "give the path of a .jsonl file, such as verdicts.jsonl")


def aligned(examples: Sequence[Example], predictions: Sequence[tuple[str, str]]) -> tuple[list[str], int]:
    """A completion for each example, "" where there is none, and how many there are none for.

    Raises UserError for ids of no example, and where lines without ids are not as many as the examples.
    """
    if not predictions[0][0]:
        if len(predictions) != len(examples):
            raise UserError(
                f"{len(predictions)} predictions without ids for {len(examples)} references; give each line its "
                "reference's id"
            )
        return [text for _, text in predictions], 0
    by_id = dict(predictions)
    if strangers := sorted(by_id.keys() - {example.id for example in examples}):
        raise UserError(
            f"{len(strangers)} predictions are of no reference, '{strangers[0][:80]}' among them; ids are those of the "
            f"references, such as '{examples[0].id}'"
        )
    missing = sum(example.id not in by_id for example in examples)
    return [by_id.get(example.id, "") for example in examples], missing


def judge(examples: Sequence[Example], completions: Sequence[str], *, databases: int = 4) -> list[dict]:
    """A row a prediction, as the ledger has it: the completion, its SQL and the verdict.

    databases: generated ones that a robust match has to agree on; 0 for a strict match alone.
    """
    with Scorer(workers=min(cpus(), MOST_WORKERS), databases=databases) as scorer:
        verdicts = scorer.score_batch(list(zip(examples, completions, strict=True)), progress=True)
    return [
        {
            "id": example.id,
            "split": "test",
            "schema": digest(example.schema)[:8],
            "complexity": example.complexity,
            "task_type": example.task_type,
            "completion": completion,
            "sql": extract_sql(completion),
            **asdict(verdict),
        }
        for example, completion, verdict in zip(examples, completions, verdicts, strict=True)
    ]


def report(rows: Sequence[dict]) -> str:
    """Metrics with their intervals, slices by complexity, and how many rows came to each outcome, as plain text."""
    result = figures(rows)
    lines = [
        f"{NAMES[name]:<32}{formats.interval(result['metrics'][name])}  n = {result['metrics'][name]['n']:,}"
        for name in NAMES
        if name in METRICS and result["metrics"][name]["n"]
    ]
    for name, metric in result["slices"]["complexity"].items():
        lines.append(f"  {name:<30}{formats.share(metric['right'])}")
    schemas = set(schemas_of(rows) or ())
    if 0 < len(schemas) < min(FEWEST_GROUPS, len(rows)):
        few = f"{len(schemas)} schema{'s' * (len(schemas) > 1)}"
        lines.append(f"The rows are of {few}: intervals are about further questions to the same.")
    return "\n".join([*lines, *_counts(result["outcomes"])])


def _counts(outcomes: Mapping[str, int]) -> list[str]:
    return ["outcomes: " + ", ".join(f"{name} {count:,}" for name, count in outcomes.items())]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m common.score", description=__doc__.partition("\n\n")[0])
    parser.add_argument("predictions", help="a .jsonl file")
    references = parser.add_mutually_exclusive_group(required=True)
    references.add_argument("--references", help="a .parquet, .jsonl or .csv file: sql_prompt, sql_context, sql, id")
    references.add_argument("--data", help="embedded, gretel or spider:DIR, in place of a file")
    parser.add_argument("--split", default="test", choices=SPLITS, help="of --data (test)")
    parser.add_argument("--limit", type=int, help="the first rows of the split alone")
    parser.add_argument("--databases", type=int, default=4, help="generated ones for the robust match (4)")
    parser.add_argument("--output", help="a .jsonl file for the verdicts, a line a reference")
    given = parser.parse_args()
    if given.references and (given.limit is not None or given.split != "test"):
        parser.error("--split and --limit are of --data; --references takes every row of its file")
    output = None if given.output is None else verdicts_file(given.output)
    for name in filter(None, (given.predictions, given.references)):
        with suppress(OSError):  # a file that is not there: its reader says so
            if output and output.samefile(paths.expanded(name)):
                raise UserError(f"--output {given.output} is a file to read, {name}; name another for the verdicts")
    predictions = read_predictions(given.predictions)
    examples = read_references(given.references, given.data, given.split, given.limit)
    completions, missing = aligned(examples, predictions)
    rows = judge(examples, completions, databases=given.databases)
    try:
        if output:
            replace_text(output, "".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}); judge again with another --output") from None
    finally:  # last, since its reader may go away, and also where the disk refuses the verdicts
        if missing:
            print(f"{missing} of {len(examples)} references have no prediction; they count as answered wrongly")
        print(report(rows))


if __name__ == "__main__":
    run_cli(piped(main))
