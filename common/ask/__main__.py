"""Ask your own SQLite file: `python -m common.ask shop.sqlite "Which customers ordered most?"`.

The answer is written as it comes, run on a private copy, and held against a few samples. The file is never changed.
"""

import argparse
import json
import math
import sys
import warnings

from common.ask.places import question_text
from common.pipes import piped
from common.settings import UserError, run_cli

MOST_SHOWN = 20  # rows


def main() -> int:
    """0 where the answer ran, 1 where it failed."""
    parser = argparse.ArgumentParser(prog="python -m common.ask", description=__doc__)
    parser.add_argument("database", help="a SQLite file")
    parser.add_argument("question", help="in quotes")
    parser.add_argument(
        "--run", default="baseline", help="a record's name, such as sft-lora; the base model if left out"
    )
    parser.add_argument("--adapter", default="", help="a folder of trained weights, in place of --run")
    parser.add_argument("--model", default="", help="the base model: a hub id, a folder or a .gguf file")
    parser.add_argument("--profile", default="auto", help="smoke, cpu, t4 or h100; auto looks at the hardware")
    parser.add_argument("--samples", type=int, default=5, help="further answers that are held against it; 0 for none")
    parser.add_argument("--rows", type=int, default=3, help="of each table that the model sees; 0 for none")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of text")
    parser.add_argument("--prompt", action="store_true", help="also show the schema that the model sees")
    given = parser.parse_args()
    if given.samples < 0 or given.rows < 0:
        raise UserError("--samples and --rows are numbers from 0 on")
    question_text(given.question)
    if given.adapter and given.run != "baseline":
        raise UserError("give --run or --adapter, not both")
    warnings.filterwarnings("ignore")  # libraries' advice is no answer
    # These take seconds to import: not before the arguments are right.
    from common.ask import agreed, ask, load_run, open_copy
    from common.ask.hints import hint
    from common.ask.weights import load_folder

    with open_copy(given.database, rows=given.rows) as copy:
        print(f"{copy.origin.name}: {len(copy.tables)} tables; loading the model", file=sys.stderr)
        options = {"profile": given.profile, "model_id": given.model}
        loaded = load_folder(given.adapter, **options) if given.adapter else load_run(given.run, **options)
        answer, example = ask(loaded, copy, given.question, rows=given.rows, stream=not given.json)
        if given.prompt:
            print(f"\nThe model saw: {example.schema}", file=sys.stderr)
        if not given.json:
            _show(answer, hint(copy, answer.sql, answer.execution, is_cut=answer.is_cut))
        first = answer
        if given.samples:
            answer = agreed(loaded, copy, example, first, samples=given.samples)
        advice = hint(copy, answer.sql, answer.execution, is_cut=answer.is_cut)
    if given.json:
        print(json.dumps(_as_json(answer, advice), ensure_ascii=False, allow_nan=False, indent=2))
    elif given.samples:
        print(f"\n{_votes(answer, first)}")
        if answer.sql != first.sql:
            _show(answer, advice)
    return 1 if answer.execution.outcome else 0


def _votes(answer, first) -> str:
    if answer.is_cut:
        rest = ", the rest does not run" if answer.cut < answer.of else ""
        return f"No answer has a vote: {answer.cut} of {answer.of} broke off at the limit of their tokens{rest}."
    cut = f"{answer.cut} of {answer.of} answers broke off at the limit of their tokens, without a vote.\n"
    share = f"{cut if answer.cut else ''}{answer.votes} of {answer.of} answers"
    if answer.sql == first.sql:
        return f"{share} have this result."
    why = "are whole" if first.is_cut else "would change the file" if answer.execution.writes else "read the file"
    return f"{share} {why} and agree on another result:\n{answer.sql}"


def _show(answer, advice: str) -> None:
    from common.ask.display import change_text, rows_text

    execution = answer.execution
    print()
    if execution.outcome:
        print(f"It does not run ({execution.outcome}): {execution.detail}")
    elif execution.writes:
        print("It would change the file. It ran on a private copy; your file is as it was.")
    for table in execution.tables:
        print(rows_text(table, MOST_SHOWN))
    for change in execution.changes:
        print(change_text(change))
    if advice:
        print(f"Hint: {advice}.")


def _plain(value: object) -> object:
    """As JSON has it: a blob and an infinite number as text."""
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _as_json(answer, advice: str) -> dict:
    tables = [
        {
            "columns": table.columns,
            "rows": [[_plain(value) for value in row] for row in table.rows],
            "count": table.count,
        }
        for table in answer.execution.tables
    ]
    execution = answer.execution
    return {
        "sql": answer.sql,
        "outcome": execution.outcome or "ran",
        "detail": execution.detail,
        "writes": execution.writes,
        "changes": [{"name": change.name, "change": change.kind} for change in execution.changes],
        "tables": tables,
        "votes": answer.votes,
        "of": answer.of,
        "cut": answer.cut,
        "others": [{"sql": sql, "votes": votes} for sql, votes in answer.others],
        "hint": advice,
    }


if __name__ == "__main__":
    run_cli(piped(main))
