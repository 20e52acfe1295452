"""`python -m common.results table | rescore | readme`: what can be made from the ledger without a model."""

import argparse
import os
import re
from dataclasses import asdict
from pathlib import Path

from common.data import ids_hash, load_examples
from common.prompts import extract_sql
from common.results import comparison, ledger
from common.settings import ROOT, UserError, run_cli, writing
from common.statistics import metrics, outcomes, slices

_BLOCK = re.compile(
    r"(<!-- results:(?:(?P<name>[\w-]+):)?begin -->\n)(.*?)(<!-- results:(?:(?P=name):)?end -->)", re.DOTALL
)
SCRATCH = "smoke"  # its records come from random weights and are never shown


def rescore(path: Path) -> str:
    """Judge a record's completions again with today's scorer and write its verdicts, metrics and slices anew.

    Returns one line on what changed. Raises UserError where the record's rows cannot be loaded as they were.
    """
    from common.scoring import Scorer

    record = ledger.load(path)
    data = record["data"]
    rows = ledger.read_predictions(record["profile"], record["method"])
    if not rows:
        return f"{record['profile']}/{record['method']}: no predictions to judge"
    seed = data.get("seed", record["seed"])
    examples = load_examples(data["source"], data["split"], limit=data["n"], seed=seed)
    if ids_hash(examples) != data["ids_hash"] or [row["id"] for row in rows] != [example.id for example in examples]:
        raise UserError(
            f"{path.name}: the data of today are not the rows it was run on; check out the commit in its 'code', "
            "or run its notebook again"
        )
    with Scorer(workers=os.cpu_count() or 1, databases=data.get("databases", 0)) as scorer:
        pairs = [(example, row["completion"]) for example, row in zip(examples, rows, strict=True)]
        verdicts = scorer.score_batch(pairs, progress=True)
    judged = [
        {**row, "sql": extract_sql(row["completion"]), **asdict(verdict)}
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    changed = sum(a["match"] != b["match"] or a["outcome"] != b["outcome"] for a, b in zip(rows, judged, strict=True))
    record |= {"metrics": metrics(judged), "slices": slices(judged), "outcomes": outcomes(judged)}
    record["code"] |= {"scorer_digest": ledger.scorer_digest()}
    ledger.write_record(record, judged)
    return f"{record['profile']}/{record['method']}: {changed} of {len(judged)} verdicts changed"


def block(name: str | None = None) -> str:
    """What stands between a README's markers: every shown profile, or the one of that name."""
    profiles = list(dict.fromkeys(path.parent.name for path in ledger.record_paths() if path.parent.name != SCRATCH))
    if name and name not in profiles:
        raise UserError(f"a README asks for the results of '{name}', which has no records; run it or drop the block")
    shown = [name] if name else profiles
    return "\n\n".join(map(_profile_block, shown)) if shown else "No run is recorded yet; `make run` does it."


def _profile_block(profile: str) -> str:
    figure = ledger.folder(profile) / "comparison.png"
    text = comparison.markdown(profile)
    if figure.exists() and figure.is_relative_to(ROOT):
        text += f"\n\n![Strict match of each method at profile {profile}]({figure.relative_to(ROOT)})"
    return text


def generated(text: str) -> str:
    """A README's text with every results block made anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}{block(found['name'])}\n{found[4]}", text)


def readme(check: bool) -> int:
    """Write README.md's blocks; with `check` only say whether they differ. Raises UserError without README or block."""
    path = ROOT / "README.md"
    if not path.exists() or not _BLOCK.search(text := path.read_text(encoding="utf-8")):
        raise UserError(
            "README.md is missing or has no line '<!-- results:begin -->' with '<!-- results:end -->' below it"
        )
    wanted = generated(text)
    if text == wanted:
        print("README.md agrees with the records")
    elif check:
        print("README.md differs from the records; `python -m common.results readme` writes it anew")
        return 1
    else:
        with writing(path):
            ledger.replace_text(path, wanted)
        print("README.md: results written from the records")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m common.results", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("table", help="print a profile's comparison")
    verb.add_argument("--profile", default="cpu")
    verb = verbs.add_parser("rescore", help="judge recorded completions again with today's scorer")
    verb.add_argument("paths", nargs="*", type=Path, metavar="RECORD", help="record files; default: all")
    verb = verbs.add_parser("readme", help="write the tables into README.md")
    verb.add_argument("--check", action="store_true", help="only compare; exit code 1 where they differ")
    arguments = parser.parse_args()
    if arguments.verb == "readme":
        return readme(arguments.check)
    if arguments.verb == "table":
        print(comparison.markdown(arguments.profile))
        return 0
    for path in arguments.paths or ledger.record_paths():
        print(rescore(path), flush=True)
    return 0


if __name__ == "__main__":
    run_cli(main)
