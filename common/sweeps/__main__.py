"""`python -m common.sweeps list | show NAME | worker NAME`: searches in SWEEP_STORAGE, and one more worker for one."""

import argparse
from contextlib import suppress

import pandas

from common.pipes import piped
from common.settings import UserError, run_cli
from common.sweeps.attempts import slots_of
from common.sweeps.result import table
from common.sweeps.searching import search
from common.sweeps.storage import Storage, missing, quiet
from common.sweeps.sweep import Sweep


def sweeps(storage: Storage) -> dict[str, Sweep]:
    """The sweeps of a storage by id, but for those of a code so old that its texts cannot be read."""
    texts = {study.study_name: study.user_attrs.get("sweep") for study in storage.call("get_all_studies")}
    by_id = {}
    for name, text in sorted(texts.items()):
        with suppress(UserError, TypeError, KeyError, ValueError):
            by_id[name] = Sweep.from_json(text)
    return by_id


def pick(by_id: dict[str, Sweep], name: str, storage: Storage) -> tuple[str, Sweep]:
    """The sweep with this id, or the one whose id begins so. Raises UserError where that is none or several."""
    ids = [name] if name in by_id else [id for id in by_id if id.startswith(name)]
    if len(ids) != 1:
        have = ", ".join(ids or by_id) or "none"
        which = "several sweeps" if ids else "no sweep"
        raise UserError(f"{which} in {storage.where} begin with '{name}'; there: {have}")
    return ids[0], by_id[ids[0]]


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m common.sweeps", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="every sweep, with its finished trials by stage")
    for verb, about in (
        ("show", "the trials of a sweep so far"),
        ("worker", "train trials of a sweep until it is done"),
    ):
        verbs.add_parser(verb, help=about).add_argument("name", metavar="NAME", help="a sweep's id, or how it begins")
    arguments = parser.parse_args()
    quiet()
    if file := missing():
        raise UserError(f"there is no sweep storage {file} yet; run a notebook that searches, or set SWEEP_STORAGE")
    storage = Storage()
    by_id = sweeps(storage)
    if arguments.verb == "list":
        for id, sweep in by_id.items():
            print(id, *_progress(id, sweep, storage), sep="  ")
        return 0
    id, sweep = pick(by_id, arguments.name, storage)
    if arguments.verb == "show":
        with pandas.option_context("display.width", None, "display.max_columns", None, "display.max_rows", None):
            print(table(sweep, _slots(id, sweep, storage)).to_string(index=False))
        return 0
    if sweep.id != id:
        raise UserError(f"{id} was begun with other code, data or packages than are here; check out its commit")
    result = search(sweep)
    for stage in result.stages:
        print(f"stage {stage['stage']}: {stage['trials']} trials, best {stage['best']}")
    return 0


def _slots(id: str, sweep: Sweep, storage: Storage) -> list[dict]:
    trials = storage.call("get_all_trials", storage.call("get_study_id_from_name", id))
    return [slots_of(sweep, trials, number) for number in range(1, len(sweep.stages))]


def _progress(id: str, sweep: Sweep, storage: Storage) -> list[str]:
    by_stage = _slots(id, sweep, storage)
    counts = [sum(slot.outcome is not None for slot in slots.values()) for slots in by_stage]
    return [f"stage {n}: {count}/{sweep.stages[n - 1].trials}" for n, count in enumerate(counts, 1)]


if __name__ == "__main__":
    run_cli(piped(main))
