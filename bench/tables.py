"""Bench records, `results/bench/<name>.json`: their shape, and their tables as Markdown.

What was measured and how is the benches' own; a record may be of an older scorer than today's, so its table names the
commit it was measured at.
"""

import json
from collections.abc import Sequence

from common.results.tables import pipes
from common.settings import UserError, results

FOLDER = "bench"
KEYS = ("name", "code", "environment", "data", "measurements", "notes")
# value is the median of `repetitions` measurements, low and high their minimum and maximum; target is {"at_least": x},
# {"at_most": x} or None, met is None where there is no target or where nothing could be measured (value None).
MEASUREMENT_KEYS = ("name", "what", "unit", "value", "low", "high", "repetitions", "target", "met")
RATIOS = ("scoring", "training", "training-qwen2.5-coder-0.5b-instruct", "preferences", "grpo", "layouts", "generation")
# A ratio's line begins with one of these; behind it, what the table of all ratios adds to the line that it is of.
BASELINES = {
    "– against the published": "",
    "– against TRL's layout": ", against TRL's layout",
    "– against TRL's loop": ", against TRL's loop",
}


def load(name: str) -> dict | None:
    """A bench's record; None where it was not run yet. Raises UserError for a file that is no such record."""
    path = results() / FOLDER / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); `make bench` writes it again") from None
    if missing := missing_keys(record):
        raise UserError(f"{path} lacks {', '.join(missing)}; `make bench` writes it again")
    return record


def missing_keys(record: object) -> list[str]:
    """What a bench record lacks, as `measurements.unit`."""
    if not isinstance(record, dict):
        return list(KEYS)
    missing = [key for key in KEYS if key not in record]
    lines = record.get("measurements", [])
    return missing + [f"measurements.{key}" for key in MEASUREMENT_KEYS if any(key not in line for line in lines)]


def met(value: float | None, target: dict | None) -> bool | None:
    """Whether a measured value reaches its target; None where either is missing."""
    if value is None or target is None:
        return None
    return value >= target["at_least"] if "at_least" in target else value <= target["at_most"]


def markdown(name: str) -> str:
    """What was measured, its spread, its target, and whether that was met: a table, and where it was measured."""
    record = load(name)
    if record is None:
        return "Not measured yet; `make bench` does it."
    code, environment = record["code"], record["environment"]
    commit = f"`{code['commit'][:12] or 'unknown'}`{' with uncommitted changes' if code['dirty'] else ''}"
    versions = f"Python {environment['python']}, SQLite {environment['packages']['sqlite']}"
    where = f"Measured at commit {commit}; {environment['device']}, {versions}."
    return "\n\n".join([table(record["measurements"]), where, *record["notes"]])


def table(measurements: Sequence[dict]) -> str:
    """A record's measurements, one a line."""
    heads = ["what", "median", "minimum – maximum", "repetitions", "target", "met"]
    lines = [
        [
            line["what"],
            _with_unit(line["value"], line["unit"]),
            f"{_digits(line['low'])} – {_digits(line['high'])}" if line["repetitions"] > 1 else "–",
            str(line["repetitions"]),
            _target(line["target"], line["unit"]),
            _met(line),
        ]
        for line in measurements
    ]
    return pipes(heads, lines)


def ratios(names: Sequence[str] = RATIOS) -> str:
    """One table of what records have against the published recipe, or against TRL's layout or loop, each line named
    after the one that it compares."""
    lines, places = [], []
    for name in names:
        record = load(name)
        if record is None:
            places.append(f"{name}: not measured yet")
            continue
        code = record["code"]["commit"][:12] or "unknown"
        places.append(f"{name} at `{code}` on {record['environment']['device']}")
        subject = ""
        for line in record["measurements"]:
            if not line["what"].startswith("– "):
                subject = line["what"]
            for start, addition in BASELINES.items():
                if line["unit"] == "×" and line["what"].startswith(start):
                    lines.append(line | {"what": f"{name}: {subject}{addition}"})
    if not lines:
        return "Not measured yet; `make bench` does it."
    return "\n\n".join([table(lines), f"Against the published recipe, in the same run. {'; '.join(places)}."])


def _met(line: dict) -> str:
    if line["value"] is None:
        return "not measured"
    return {True: "yes", False: "**no**", None: "–"}[line["met"]]


def _digits(value: float | None) -> str:
    """Three significant digits, in plain figures."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{float(f'{value:.3g}'):g}"


def _with_unit(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{_digits(value)}{'' if unit == '×' else ' '}{unit}"


def _target(target: dict | None, unit: str) -> str:
    if target is None:
        return "–"
    (kind, value), *_ = target.items()
    return f"{'≥' if kind == 'at_least' else '≤'} {_with_unit(value, unit)}"
