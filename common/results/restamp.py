"""Digests of code in records by today's definition of what code a result stands on, proved from the history.

Where that definition changes (`common.provenance`), every record's digest does, though no code did. This takes the code
of the commit that a record names, digests it as today's is digested, and writes the digest down where the two are
equal. A record of code that has changed since keeps what it has, and stays stale. Trains, answers and judges nothing.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from common import provenance
from common.results.audits import FOLDER
from common.results.audits import load as load_audit
from common.results.ledger import load
from common.results.measures import KINDS, measures_digest
from common.results.measures import load as load_measures
from common.results.sections import ANSWERS, SCORER, computing_modules
from common.settings import ROOT, UserError, replace_text, writing

_WITHOUT_SCORING = ("answers_digest", "training_digest")


def restamp(path: Path) -> str:
    """Write the digests of the record in `path` anew where they are of today's code; returns one line on it.

    Raises UserError where the history does not have the record's commit, or the record was made by uncommitted code.
    """
    record = _load(path)
    section, name = record["code"], f"{record.get('profile')}/{record.get('method') or record.get('source')}"
    is_whole = isinstance(section.get("training_modules", []), list) and "dirty" in section
    if not is_whole or not re.fullmatch(r"[0-9a-f]{7,64}|", str(section.get("commit"))):
        raise UserError(f"{path} does not say which code made it; run its notebook again")
    if section["dirty"]:
        raise UserError(f"{name} was made by code that was not committed; run its notebook again")
    wanted = {"scorer_digest": [SCORER]}
    if "measures_digest" in section:
        wanted["measures_digest"] = computing_modules(record["notebook"])
    elif "certify_digest" in section:
        wanted["certify_digest"] = computing_modules(record["notebook"])
    else:
        wanted["answers_digest"] = [section.get("answers_module") or ANSWERS]
    if section.get("training_modules"):
        wanted["training_digest"] = list(section["training_modules"])
    with tempfile.TemporaryDirectory(prefix="text-to-sql-restamp-") as folder:
        root = Path(folder) / "code"
        _check_out(section["commit"], root, name)
        digests = {key: [_digest(key, modules, place) for place in (root, ROOT)] for key, modules in wanted.items()}
    changes = {key: today for key, (then, today) in digests.items() if then == today != section.get(key, today)}
    if changes:
        with writing(path):
            replace_text(path, _with_digests(path.read_text(encoding="utf-8"), section, changes))
    others = [key for key, (then, today) in digests.items() if then != today]
    if others:
        return f"{name}: {', '.join(others)} of other code than today's; run its notebook again"
    return f"{name}: {', '.join(changes)} written anew" if changes else f"{name}: as it is"


def _load(path: Path) -> dict:
    if path.parent.name in KINDS:
        return load_measures(path)
    return load_audit(path) if path.parent.name == FOLDER else load(path)


def _with_digests(text: str, section: dict, changes: dict[str, str]) -> str:
    """The record's text with other digests, and nothing else touched."""
    for key, digest in changes.items():
        text = text.replace(f'"{key}": {json.dumps(section[key])}', f'"{key}": {json.dumps(digest)}')
    return text


def _digest(key: str, modules: list[str], root: Path) -> str:
    try:
        if key == "measures_digest":
            return measures_digest(modules, root)
        return provenance.code(*modules, without=provenance.SCORING if key in _WITHOUT_SCORING else (), root=root)
    except KeyError:  # a module that was not there then, or is no more
        return ""


def _check_out(commit: str, root: Path, name: str) -> None:
    """The package as it was at a commit, in a folder of its own."""
    try:
        archive = subprocess.run(["git", "archive", commit, provenance.PACKAGE], cwd=ROOT, capture_output=True)
    except OSError:
        raise UserError("git is not there, which has the code of older records; install it, then call again") from None
    if archive.returncode:
        raise UserError(f"{name} is of commit {commit[:12]}, which is not in the history here; fetch it whole")
    root.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(root)], input=archive.stdout, check=True)
