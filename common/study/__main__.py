"""`python -m common.study list | run | publish | seeds | all`: the notebooks as one study."""

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

from common.pipes import piped
from common.profiles import resolve
from common.settings import UserError, run_cli
from common.study.execute import run
from common.study.notebooks import find, in_order, read
from common.study.pending import run_pending
from common.study.publish import publish
from common.study.seeds import run_seeds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m common.study", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the notebooks in the order in which they run")
    for name, text in (
        ("run", "execute notebooks and compare"),
        ("publish", "put outputs into the notebooks"),
        ("all", "execute every notebook whose record is missing or of other code, for results/"),
        ("seeds", "execute the example notebooks at further seeds, for mean and spread in results/"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--profile", default="auto")
        verb.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="default: all of them")
        if name == "run":
            verb.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
            verb.add_argument(
                "--to-results",
                action="store_true",
                help="write records to results/ and the README, from committed code and with own parameters alone",
            )
    arguments = parser.parse_args()
    if arguments.verb == "list":
        for notebook in find():
            print(f"{notebook.name}: {', '.join(notebook.methods)} (needs {', '.join(notebook.needs) or 'nothing'})")
        return 0
    profile = resolve(arguments.profile).name
    notebooks = in_order([read(path) for path in arguments.notebooks]) if arguments.notebooks else find()
    if arguments.verb == "publish":
        publish(notebooks, profile)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the kernel is shut down with us
    if arguments.verb == "seeds":
        run_seeds(notebooks, profile)
    elif arguments.verb == "all":
        failures = run_pending(notebooks, profile)
        print(f"failed: {', '.join(failures)}" if failures else "all of them are executed")
        return 1 if failures else 0
    else:
        run(notebooks, profile, pairs(arguments.parameters), publish=arguments.to_results)
    return 0


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` as typed → values by name. Raises UserError for a text without a value, and for PROFILE."""
    values = dict(text.partition("=")[::2] for text in texts)
    if wrong := [text for text in texts if "=" not in text]:
        raise UserError(f"-p {wrong[0]} has no value; write it as -p {wrong[0]}=VALUE")
    if "PROFILE" in values:
        raise UserError("give the profile as --profile NAME, not with -p")
    return values


if __name__ == "__main__":
    run_cli(piped(main))
