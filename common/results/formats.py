"""Figures as text, in one style for every table: three decimals, intervals in brackets, a dash for what is absent."""

from collections.abc import Mapping

FEW = 20  # rows below which a share is no figure: it is shown as a count


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
