"""`python -m common.results VERB`: what can be made from the ledger without a model. `--help` names the verbs."""

import argparse
from pathlib import Path

from common.pipes import piped
from common.results import explorer, ledger, readme, tables, transfer
from common.results.audits import audit_paths
from common.results.cards import write_cards
from common.results.evaluators import report, store
from common.results.figure import save_comparison
from common.results.measures import measures_paths
from common.results.rescore import rescore
from common.results.restamp import restamp
from common.results.verify import verify
from common.settings import relative, run_cli


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m common.results", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("table", help="print a comparison")
    verb.add_argument("--profile", default="cpu", help="of the committed records of a profile (cpu)")
    verb.add_argument("--folder", type=Path, help="of the records in a folder, such as outputs/results/cpu")
    verb = verbs.add_parser("rescore", help="judge recorded completions again with today's scorer")
    verb.add_argument("paths", nargs="*", type=Path, metavar="RECORD", help="record files; default: all committed ones")
    verb.add_argument("--data", default="", help="where the rows are, for records of Spider or of a file")
    verb = verbs.add_parser("restamp", help="digests of code by today's definition, proved from the history")
    verb.add_argument("paths", nargs="*", type=Path, metavar="RECORD", help="record files; default: all committed ones")
    verb = verbs.add_parser("evaluators", help="judge recorded answers by other evaluators, and compare the orders")
    verb.add_argument("--profile", default="cpu", help="of the committed records of a profile (cpu)")
    verb.add_argument("--folder", type=Path, help="of the records in a folder, such as outputs/results/cpu")
    verb.add_argument("--data", default="", help="where the rows are, for records of Spider or of a file")
    verb.add_argument("--check", action="store_true", help="only compare evaluators.md with the records, judge nothing")
    verb = verbs.add_parser("verify", help="whether records are what they say: files, figures, code, data")
    verb.add_argument("paths", nargs="*", type=Path, metavar="RECORD", help="record files; default: all committed ones")
    verbs.add_parser("cards", help="a model card of every trained run, below outputs/cards/")
    verb = verbs.add_parser("readme", help="write the tables into README.md and comparison.md")
    verb.add_argument("--check", action="store_true", help="only compare; exit code 1 where they differ")
    verb = verbs.add_parser("explorer", help="write the page of what each method answered, explorer.html")
    verb.add_argument("--profile", default="cpu", help="of the committed records of a profile (cpu)")
    verb.add_argument("--folder", type=Path, help="of the records in a folder, such as outputs/results/cpu")
    verb = verbs.add_parser("transfer", help="aggregates of your runs on other data, such as Spider, and transfer.md")
    verb.add_argument("--folder", type=Path, required=True, help="of those records: outputs/results/PROFILE@DIGEST")
    arguments = parser.parse_args()
    if arguments.verb == "readme":
        for profile in [] if arguments.check else readme.profiles():
            save_comparison(ledger.folder(profile))  # the same tables, beside the records
        for profile in readme.profiles():
            for page in (report, transfer):
                (page.check if arguments.check else page.follow)(ledger.folder(profile))
        return readme.update(check=arguments.check)
    if arguments.verb == "evaluators":
        return evaluators(arguments.folder or ledger.folder(arguments.profile), arguments.data, check=arguments.check)
    if arguments.verb in ("table", "explorer"):
        place = arguments.folder or ledger.folder(arguments.profile)
        print(tables.markdown(place) if arguments.verb == "table" else explorer.write(place))
        return 0
    if arguments.verb == "transfer":
        for path in transfer.save(arguments.folder):
            print(f"written: {relative(path)}")
        return 0
    if arguments.verb == "cards":
        return 0 if write_cards() else 1
    if arguments.verb == "verify":
        faults = {path: verify(path) for path in arguments.paths or [*ledger.record_paths(), *ledger.seed_paths()]}
        for path, lines in faults.items():
            print(f"{path.parent.name}/{path.stem}: {'; '.join(lines) or 'sound'}")
        return int(any(faults.values()))
    others = [*audit_paths(), *measures_paths()] if arguments.verb == "restamp" else []
    for path in arguments.paths or [*ledger.record_paths(), *ledger.seed_paths(), *others]:
        line = restamp(path) if arguments.verb == "restamp" else rescore(path, arguments.data)
        print(line, flush=True)
    return 0


def evaluators(place: Path, source: str, *, check: bool) -> int:
    """Judge what is not judged yet and write evaluators.md, or only compare it."""
    if check:
        report.check(place)
        print(f"{place.name}/{report.REPORT} agrees with the records")
        return 0
    for line in store.judge(place, source):
        print(line, flush=True)
    print(f"written: {relative(report.save(place))}")
    return 0


if __name__ == "__main__":
    run_cli(piped(main))
