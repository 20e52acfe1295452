"""Which runs may stand side by side: what must agree between two records, and where a run finds one to compare with.

Refuses only what would make a comparison unfair. Cost is another matter: see `same_environment`.
"""

from collections.abc import Sequence
from pathlib import Path

from common.results.ledger import load
from common.settings import UserError, relative

_RESCORE = "`python -m common.results rescore RECORD …`, both files named, gives them today's verdicts without a model"
# What must agree within a table, and what to do where it does not.
_MUST_AGREE = {
    ("data", "ids_hash"): "run both on the same rows",
    ("data", "prompt_hash"): "run both again with today's prompt",
    ("data", "revision"): "run both on the same state of the data",
    ("splits", "ids_hash"): "run both on the same rows of every split",
    ("splits", "prompt_hash"): "run both again with today's prompt",
    ("decoding",): "run both with the same decoding",
    ("scoring", "databases"): "score both on the same generated databases",
    ("scoring", "generator"): "score both on the same generated databases",
    ("scoring", "seed"): "score both on the same generated databases",
    ("scoring", "sqlite"): _RESCORE,
    ("scoring", "sqlglot"): _RESCORE,
    ("code", "scorer_digest"): _RESCORE,
}
_LATER = (("scoring", "sqlite"), ("scoring", "sqlglot"))  # the first records do not name them


def disagreement(one: dict, other: dict) -> tuple[str, str] | None:
    """The first of what must agree and does not, and what to do about it; None for records that are comparable."""
    for path, advice in _MUST_AGREE.items():
        values = [_at(record, path) for record in (one, other)]
        if values[0] != values[1] and not (path in _LATER and "" in values):
            return ".".join(path), advice
    return None


def _at(record: dict, path: Sequence[str]) -> object:
    if path[0] == "splits":  # by their names; a record from before there were any has none
        return {name: split[path[1]] for name, split in record.get("splits", {}).items()}
    if path == ("data", "revision") and record["data"]["source"] in ("embedded", "gretel"):
        return ""  # the generator's code, or a commit of the hub, which a word in the data's card changes too
    for key in path:
        record = record.get(key, "")
    return record


def same_base(one: dict, other: dict) -> bool:
    """Whether two runs started from the same base model: a difference means something only then."""
    return all(one["model"][key] == other["model"][key] for key in ("id", "revision"))


def same_environment(one: dict, other: dict) -> bool:
    """Whether two runs' costs may be compared: the same device, and the same versions of what both name."""
    packages, others = (record["environment"]["packages"] for record in (one, other))
    equal = all(packages[name] == others[name] for name in packages.keys() & others.keys())
    return equal and one["environment"]["device"] == other["environment"]["device"]


def find_comparable(method: str, run: dict, places: Sequence[Path], command: str) -> Path:
    """The first of the folders `places` whose record of `method` a run can be compared with.

    run: the record's sections of which something must agree, as the run will have them, with the model's id and, where
    that is known, its revision. Raises UserError, with the `command` that makes such a record, where there is none.
    """
    reasons = []
    for place in places:
        if not (path := place / f"{method}.json").exists():
            continue
        record = load(path)
        models = [(key, record["model"][key], run["model"].get(key)) for key in ("id", "revision")]
        if others := [key for key, one, other in models if other and one != other]:
            difference = f"model.{others[0]}"
        elif (pair := disagreement(run, record)) is None:
            return place
        else:
            difference = pair[0]
        reasons.append(f"the record '{method}' in {relative(place)} is of another {difference} than this run")
    if not reasons:
        raise UserError(f"there is no record '{method}' for profile {run['profile']}; {command} writes it")
    raise UserError(f"{reasons[0]}, so they cannot be compared; {command} makes one that can")
