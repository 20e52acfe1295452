"""`python -m common.sweeps list | show NAME | worker NAME`: searches in SWEEP_STORAGE, and one more worker for one."""

import argparse
from contextlib import suppress

import pandas

from common.settings import UserError, run_cli
from common.sweeps.attempts import slots_of
from common.sweeps.found import table
from common.sweeps.searching import search
from common.sweeps.storage import Storage, exists, quiet
from common.sweeps.sweep import Sweep


def sweeps(storage: Storage) -> dict[str, Sweep]:
    """The sweeps of a storage by id, but for those of a code so old that it told them in other words."""
    told = {study.study_name: study.user_attrs.get("sweep") for study in storage.call("get_all_studies")}
    found = {}
    for name, text in sorted(told.items()):
        with suppress(UserError, TypeError, KeyError, ValueError):
            found[name] = Sweep.from_json(text)
    return found


def pick(found: dict[str, Sweep], name: str, storage: Storage) -> tuple[str, Sweep]:
    """The sweep with this id, or the one whose id begins so. Raises UserError where that is none or several."""
    ids = [name] if name in found else [id for id in found if id.startswith(name)]
    if len(ids) != 1:
        have = ", ".join(ids or found) or "none"
        which = "several sweeps" if ids else "no sweep"
        raise UserError(f"{which} in {storage.where} begin with '{name}'; there: {have}")
    return ids[0], found[ids[0]]


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
    if not exists():
        raise UserError("there is no sweep storage yet; run a notebook that searches, or set SWEEP_STORAGE")
    storage = Storage()
    found = sweeps(storage)
    if arguments.verb == "list":
        for id, sweep in found.items():
            print(id, *_progress(id, sweep, storage), sep="  ")
        return 0
    id, sweep = pick(found, arguments.name, storage)
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
    done = [sum(slot.outcome is not None for slot in slots.values()) for slots in by_stage]
    return [f"stage {n}: {of}/{sweep.stages[n - 1].trials}" for n, of in enumerate(done, 1)]


if __name__ == "__main__":
    run_cli(main)
