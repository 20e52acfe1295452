"""`python -m common.results table | rescore | readme | ratios`: what can be made from the ledger without a model."""

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from common.data import ids_hash, load_examples
from common.prompts import extract_sql
from common.results import benches, comparison, ledger, readme
from common.settings import UserError, run_cli
from common.statistics import metrics, outcomes, slices


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
    with Scorer(workers=os.cpu_count() or 1, **record["scoring"]) as scorer:
        pairs = [(example, row["completion"]) for example, row in zip(examples, rows, strict=True)]
        verdicts = scorer.score_batch(pairs, progress=True)
    judged = [
        {**row, "sql": extract_sql(row["completion"]), **asdict(verdict)}
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    seen = ("match", "robust_match", "outcome")
    changed = sum(any(a[key] != b[key] for key in seen) for a, b in zip(rows, judged, strict=True))
    record |= {"metrics": metrics(judged), "slices": slices(judged), "outcomes": outcomes(judged)}
    record["code"] |= {"scorer_digest": ledger.scorer_digest()}
    ledger.write_record(record, judged)
    return f"{record['profile']}/{record['method']}: {changed} of {len(judged)} verdicts changed"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m common.results", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("table", help="print a profile's comparison")
    verb.add_argument("--profile", default="cpu")
    verb = verbs.add_parser("rescore", help="judge recorded completions again with today's scorer")
    verb.add_argument("paths", nargs="*", type=Path, metavar="RECORD", help="record files; default: all")
    verb = verbs.add_parser("readme", help="write the tables into README.md")
    verb.add_argument("--check", action="store_true", help="only compare; exit code 1 where they differ")
    verbs.add_parser("ratios", help="print what the benches found against the published recipe")
    arguments = parser.parse_args()
    if arguments.verb == "readme":
        return readme.update(check=arguments.check)
    if arguments.verb == "ratios":
        print(benches.ratios())
        return 0
    if arguments.verb == "table":
        print(comparison.markdown(arguments.profile))
        return 0
    for path in arguments.paths or ledger.record_paths():
        print(rescore(path), flush=True)
    return 0


if __name__ == "__main__":
    run_cli(main)
