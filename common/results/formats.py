"""Figures and outcomes as text, in one style for every table: three decimals, intervals in brackets, a dash for what is
absent."""

from collections.abc import Mapping

FEW = 20  # rows below which a share is no figure: it is shown as a count
OUTCOMES = {
    "match": "the reference's result on the given database",
    "mismatch": "runs, with another result",
    "empty_prediction": "no SQL in the answer",
    "syntax_error": "does not parse",
    "schema_error": "an unknown table, column or function",
    "runtime_error": "fails when run",
    "forbidden": "several statements, or an action that is not allowed",
    "budget": "more steps than are allowed",
    "too_large": "more rows or bytes than are allowed",
    "timeout": "stopped for time",
    "reference_error": "not scored: the reference fails",
    "reference_nondeterministic": "not scored: the reference gives another result each time",
    "schema_invalid": "not scored: the schema does not load",
}


def is_absent(value: float | None) -> bool:
    """Whether there is no number: a table has nan for what a record has not."""
    return value is None or value != value


def number(value: float | None, sign: str = "") -> str:
    """Three decimals; sign: "+" for a difference."""
    return "–" if is_absent(value) else f"{value:{sign}.3f}"


def interval(metric: Mapping[str, float | None], sign: str = "") -> str:
    """`value [low, high]` of a record's metric or of a difference."""
    if is_absent(metric.get("value")):
        return "–"
    return f"{number(metric['value'], sign)} [{number(metric['low'], sign)}, {number(metric['high'], sign)}]"


def share(metric: Mapping[str, float | None]) -> str:
    """A slice's share of right answers, or "2/9" where it has too few rows for one."""
    if is_absent(metric.get("value")):
        return "–"
    return f"{round(metric['value'] * metric['n'])}/{metric['n']}" if metric["n"] < FEW else number(metric["value"])


def p_value(p: float | None) -> str:
    """Three decimals; a smaller one is below a thousandth."""
    return "–" if is_absent(p) else "<0.001" if p < 0.001 else number(p)
