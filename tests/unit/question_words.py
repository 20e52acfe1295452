"""The words of questions: what a sentence asks (`Asked`), and the conditions that it names (`take_conditions`)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from common.synthetic.tables import Field, Relation

OPERATORS = {
    **dict.fromkeys(("above", "over", "more than", "greater than", "higher than", "after"), ">"),
    **dict.fromkeys(("below", "under", "less than", "lower than", "before"), "<"),
    **dict.fromkeys(("of at least", "at least"), ">="),
    **dict.fromkeys(("of at most", "at most"), "<="),
}
FIGURES = {
    **dict.fromkeys(("total", "combined", "overall"), "sum"),
    **dict.fromkeys(("average", "mean"), "avg"),
    **dict.fromkeys(("highest", "maximum", "largest", "latest"), "max"),
    **dict.fromkeys(("lowest", "minimum", "smallest", "earliest"), "min"),
}
PARTS = {"starts with": "starts", "begins with": "starts", "ends with": "ends", "contains": "contains"}
DOWN = ("in reverse alphabetical order", "from Z to A", "from highest to lowest", "in descending order")
DOWN += ("latest first", "highest first")
UP = ("in alphabetical order", "from A to Z", "from lowest to highest", "in ascending order")
UP += ("earliest first", "lowest first")
DISTINCT = r"\b(?:each different|different|distinct|unique|without repeats|each counted once|each listed once|once)\b"
ORDINALS = {"second": 1, "third": 2}


EMPTY = frozenset(  # words that add nothing to what is asked
    re.findall(
        r"\w+",
        "show list give return display what which is are of all the each for every find get look up i need "
        "want to see tell me there pull print please can could you would like report calculate compute work "
        "out over we determine state taking together and a an in do does have has with that occur among exist "
        "it its their them number how many count by per group split break down summarise giving then first "
        "front having name those whose as values found belong belongs any leaving out without these one take "
        "go through looking listed at where ",
    )
)
NUMBER, DAY = r"-?\d+(?:\.\d+)?", r"\d{4}-\d\d-\d\d"
Meaning = tuple


def either(words) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


@dataclass
class Asked:
    """What a sentence asks. `left` are the words that were not understood, `open` what can be read in two ways."""

    columns: list[Meaning] = field(default_factory=list)
    conditions: set[Meaning] = field(default_factory=set)
    any_of: bool = False
    order: list[tuple[Meaning, bool]] = field(default_factory=list)
    limit: int = 0
    offset: int = 0
    distinct: bool = False
    left: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)


def _patterns(f: Field, table: Relation) -> Iterator[tuple[str, str]]:
    """Kind and expression of each way to say a condition on a column."""
    noun, value = re.escape(f.noun), DAY if f.kind == "date" else NUMBER
    head, operators = rf"(?:whose {noun} (?:is|are)|with (?:an? )?{noun})", "|".join(OPERATORS)
    yield "compare", rf"{head} (?:of )?(?P<op>{operators}) (?P<a>{value})"
    yield "between", rf"{head} between (?P<a>{value}) and (?P<b>{value})"
    yield "missing", rf"(?:with no {noun} recorded|whose {noun} (?:is|are) missing|with unknown {noun})"
    yield "known", rf"with a (?:known|recorded) {noun}"
    yield "text", rf"whose {noun} (?P<op>{'|'.join(PARTS)}) '(?P<a>[^']*)'"
    for other in table.fields:
        if other is not f and other.noun:
            yield (
                f"columns {other.full}",
                rf"whose {noun} (?:is|are) (?P<op>{operators}) (?:their|its) {re.escape(other.noun)}",
            )
    if f.kind in ("year", "date"):
        verb = rf"(?:{re.escape(f.column.wording[0])}|whose {noun} (?:is|are))" if f.column.wording else head
        yield "compare", rf"{verb} (?P<op>after|before) (?P<a>{value})"
        yield "between", rf"{verb} between (?P<a>{value}) and (?P<b>{value})"
        yield "year" if f.kind == "date" else "compare", rf"{verb} (?:in )?(?P<a>\d{{4}})(?!-)"
    if f.kind in ("group", "name"):
        values = "|".join(map(re.escape, sorted(f.column.values, key=len, reverse=True)))
        one = rf"(?P<a>{values})(?: or (?P<b>{values}))?"
        yield "compare", rf"whose {noun} (?:is|are) (?P<no>not )?{one}\b"
        yield "compare", rf"with {one} as {noun}\b"
        yield "compare", rf"with the {noun} {one}\b"
        yield "compare", rf"with an? {noun} (?P<no>other than ){one}\b"
        for wording in f.column.wording:
            said = re.escape(wording).replace(r"\{\}", "{}").replace("{}", one).replace(r"\ a\ ", " an? ")
            yield "compare", rf"(?P<no>not )?{said}(?!\w)"
    if f.kind == "name":
        yield (
            "compare",
            rf"(?:(?<=the {re.escape(table.one)} )(?P<a>{values})(?=[.?,: ])"
            rf"|(?:(?<= of )(?<!that of )|(?<=^ ))(?P<b>{values})(?=[.?,:]))",
        )


def _conditions(text: str, tables: tuple[Relation, ...]) -> Iterator[tuple[int, int, Meaning]]:
    for table, f in [(relation, f) for relation in tables for f in relation.fields]:
        for kind, pattern in _patterns(f, table) if f.noun and f.kind not in ("key", "ref") else ():
            for match in re.finditer(rf"(?<!\w){pattern}", text):
                yield *match.span(), _meaning(f, kind, match)


def _meaning(f: Field, kind: str, match: re.Match) -> Meaning:
    said = match.groupdict()
    values = sorted(v for v in (said.get("a"), said.get("b")) if v is not None)
    if kind.startswith("columns"):
        return (f.full, OPERATORS[said["op"]], kind.split()[1])
    if kind == "text":
        return (f.full, PARTS[said["op"]], *values)
    if kind == "between":
        return (f.full, "between", said["a"], said["b"])
    if kind != "compare":
        return (f.full, kind, *values)
    op = OPERATORS[said["op"]] if said.get("op") else "in" if len(values) > 1 else "!=" if said.get("no") else "="
    return (f.full, op, *values)


def _nearest(text: str, end: int, tables: tuple[Relation, ...]) -> str:
    """The table whose noun stands last before a place."""
    places = [(m.end(), t.sql) for t in tables for m in re.finditer(rf"\b(?:{either((t.one, t.many))})\b", text[:end])]
    return max(places, default=(0, tables[0].sql))[1]


def take_conditions(asked: Asked, text: str, tables: tuple[Relation, ...]) -> str:
    """The text with § for each condition; where it fits columns of two tables, it is the nearer noun's."""
    kept: list[tuple[int, int, Meaning]] = []
    for start, end, meaning in sorted(
        _conditions(text, tables), key=lambda c: (c[0], -c[1], c[2][0].split(".")[0] != _nearest(text, c[0], tables))
    ):
        if kept and start < kept[-1][1]:
            same_table = kept[-1][2][0].split(".")[0] == meaning[0].split(".")[0]
            if kept[-1][:2] == (start, end) and kept[-1][2] != meaning and same_table:
                asked.open.append(f"{text[start:end]}: {kept[-1][2]} or {meaning}")
            continue
        kept.append((start, end, meaning))
    asked.conditions = {meaning for _, _, meaning in kept}
    between = [text[a[1] : b[0]] for a, b in zip(kept, kept[1:], strict=False)]
    asked.any_of = any(word.strip() == "or" for word in between)
    for start, end, _ in reversed(kept):
        text = f"{text[:start]}§{text[end:]}"
    return re.sub(r"§ or §", "§", text)


def doubtful_owners(text: str, tables: tuple[Relation, ...]) -> list[str]:
    """Column nouns that can belong to either of two tables: "the name and age of the driver of each trip"."""
    doubtful = []
    for own, other in ((own, other) for other in tables[1:] for own in tables[0].fields if own.noun):
        if other.sql != tables[0].sql and own.noun in {f.noun for f in other.fields}:
            noun, of = re.escape(own.noun), rf"[\w ]+? of the {re.escape(other.one)}"
            for match in re.finditer(
                rf"\b{noun},? and (?!the |its )(?!{noun}){of}\b|\b{of},? and {noun}\b(?! of the)", text
            ):
                doubtful.append(f"whose {own.noun}: {match[0]}")
    return doubtful


def number_of(value: float) -> str:
    """A number as a question writes it."""
    return str(int(value)) if value == int(value) else str(value)
