"""Records of what is no run of a method, as tables: certified pairs, a reward model's worth, what rewards pay for.

`<folder of runs>/<kind>/<name>.json` holds aggregates only, never a row of the data. The exception is `answers`, of a
question to one database: statements and their first rows. Covers the record's shape; how its tables are measured is
their modules' affair.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pandas

from common import provenance
from common.data import revision as data_revision
from common.paths import public, source_name
from common.profiles import PROFILES, Profile
from common.results.audits import check_sections, plain
from common.results.ledger import folder, read_object
from common.results.sections import computing_modules, model, scorer_digest
from common.settings import ROOT, UserError, relative, replace_text, writable, writing

if TYPE_CHECKING:
    from common.models import LoadedModel
    from common.training.objective import Trained

PAIRS, REWARD, REWARDS, ANSWERS = KINDS = ("preferences", "reward", "rewards", "answers")


def is_measured(place: Path, name: str) -> bool:
    """Whether a folder of runs has such a record of that name."""
    return any((place / kind / f"{name}.json").exists() for kind in KINDS)


def measures_paths() -> list[Path]:
    """The committed records of tables, by profile and kind."""
    return sorted(path for profile in PROFILES for kind in KINDS for path in (folder(profile) / kind).glob("*.json"))


def find_measures(name: str, places: Sequence[Path], *, base: Mapping[str, str], source: str) -> dict:
    """The first record of that name in folders of runs that is of this base model and this source of data; {} where
    there is none."""
    for path in (place / kind / f"{name}.json" for place in places for kind in KINDS):
        if path.exists():
            record = load(path)
            if (record.get("base"), record.get("data", {}).get("source")) == (base, source):
                return record
    return {}


def load(path: Path) -> dict:
    """A record of tables, an audit among them. Raises UserError for a file that is none."""
    record = read_object(path)
    if not isinstance(record.get("notebook"), str) or "code" not in record:
        raise UserError(f"{path} lacks its notebook or code; run its notebook again")
    check_sections(record, path)
    return record


def paths_of(place: Path, notebook: str) -> list[Path]:
    """Records of tables, below a folder of runs, that a notebook wrote, whatever they are named after; what cannot be
    read is nobody's."""
    paths = []
    for path in sorted(place.glob("*/*.json")):
        with suppress(UserError):
            paths += [path] if load(path)["notebook"] == notebook else []
    return paths


def measures_digest(modules: Sequence[str], root: Path = provenance.ROOT) -> str:
    """Digest of the code that the tables of a notebook stand on which imports `modules`: not of what writes and shows
    records. Raises KeyError for a module that is not there."""
    without = (*provenance.SCORING, *provenance.RECORDS)
    computing = [name for name in modules if not any(f"{name}.".startswith(f"{other}.") for other in without)]
    return provenance.code(*computing, without=without, root=root)


def save_measures(
    place: Path,
    kind: str,
    name: str,
    tables: Mapping[str, pandas.DataFrame],
    *,
    notebook: str,
    profile: Profile,
    seed: int,
    parameters: Mapping[str, object],
    base: Mapping[str, str],
    loaded: "LoadedModel | None" = None,
    trained: "Trained | None" = None,
    facts: Mapping[str, object] | None = None,
) -> Path:
    """Write the record below the folder of runs `place` and print its path.

    tables: by name; numbers keep six digits. base: id and revision of the model that policies and judges start from.
    loaded: the model that is measured. facts: more of what was measured.
    Raises UserError for a disk that refuses, ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"records of tables are of {', '.join(KINDS)}, not of {kind}")
    modules = computing_modules(notebook)
    commit, dirty = provenance.commit(notebook)
    record = {
        "method": name,
        "profile": profile.name,
        "status": "complete",
        "notebook": notebook,
        "seed": seed,
        "parameters": public(parameters),
        "code": {
            "commit": commit,
            "dirty": dirty,
            "notebook_digest": provenance.notebook_digest(ROOT / notebook),
            "scorer_digest": scorer_digest(),
            "measures_digest": measures_digest(modules),
            "training_digest": trained.code_digest if trained else "",
            "training_modules": list(trained.code_modules) if trained else [],
        },
        "data": {"source": source_name(profile.data), "revision": data_revision(profile.data)},
        "base": dict(base),
        "model": vars(model(loaded, profile.precision, "lora" if trained else "", trained)),
        "environment": {
            "python": platform.python_version(),
            "packages": provenance.packages(*modules),
            "device": provenance.device_name(),
        },
        "facts": dict(facts or {}),
        "tables": {table: plain(frame) for table, frame in tables.items()},
    }
    path = writable(place / kind) / f"{name}.json"
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    with writing(path):
        replace_text(path, text + "\n")
    print(f"record: {relative(path)}")
    return path
