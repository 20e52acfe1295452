"""A question taken apart: words that many questions share, and between them phrases: values, numbers, and nouns.

A noun phrase is linked to the tables and columns that are called so. A word is shared where training questions over
several schemas have it; every other one is a noun, since that is what differs from schema to schema.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.data import Example
from common.retrieval.schemas import Column, Table, read_schema, stems

VALUE, NUMBER, NAME, NOUN = "<value>", "<number>", "<name>", "<noun>"
LEAST_SCHEMAS = 3  # whose questions have a word, for it to be shared
_WORDS = re.compile(
    r"""\d{4}-\d\d-\d\d | \d+(?:[.,]\d+)*  # dates and numbers
    | (?<!\w)'[^']+'(?!\w) | "[^"]+"  # quoted texts, but no apostrophes
    | [^\W\d]\w*(?:-\w+)* | [.?!](?=\s|$)""",
    re.VERBOSE,
)
MARKS = ".?!"  # that end a sentence
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Phrase:
    """A stretch of a question. kind: VALUE, NUMBER or NOUN. text: a value as its column has it, else as it stands.
    tables and columns: what is called so; of a value the columns that hold it."""

    kind: str
    text: str
    tables: tuple[Table, ...] = ()
    columns: tuple[tuple[Table, Column], ...] = ()


@dataclass(frozen=True)
class Question:
    """A question's pieces: shared words in small letters, and phrases; and the tables that it is about."""

    pieces: tuple[str | Phrase, ...]
    tables: tuple[Table, ...]

    @property
    def phrases(self) -> list[Phrase]:
        return [piece for piece in self.pieces if isinstance(piece, Phrase)]

    @property
    def mask(self) -> list[str]:
        """Its words with phrases by their kinds alone."""
        return [piece.kind if isinstance(piece, Phrase) else piece for piece in self.pieces]


def words(text: str) -> list[str]:
    """The words of a question, numbers and quoted texts among them."""
    return _WORDS.findall(text)


def shared_words(examples: Iterable[Example], least: int = LEAST_SCHEMAS) -> frozenset[str]:
    """Words, in small letters, of questions over at least so many schemas, told apart by their tables' names."""
    schemas: dict[str, set] = defaultdict(set)
    for example in examples:
        key = tuple(table.name for table in read_schema(example.schema))
        for word in words(example.question):
            schemas[word.lower()].add(key)
    return frozenset(word for word, keys in schemas.items() if len(keys) >= least)


def read_question(text: str, schema: str, shared: frozenset[str]) -> Question:
    """The question over a schema. shared: the words that are no nouns."""
    tables, tokens = read_schema(schema), words(text)
    values, names = _values(tables), _names(tables)
    pieces: list[str | Phrase] = []
    place = 0
    while place < len(tokens):
        if tokens[place] in MARKS:
            place += 1
            continue
        phrase, length = _phrase(tokens, place, values, names, shared)
        if phrase is None and tokens[place].lower() in shared:
            pieces.append(tokens[place].lower())
        else:
            _append(pieces, phrase or Phrase(NOUN, tokens[place]))
        place += length
    return Question(tuple(pieces), tables)


def _append(pieces: list[str | Phrase], phrase: Phrase) -> None:
    """Nouns side by side are one phrase, unless each is called like something of its own."""
    last = pieces[-1] if pieces else ""
    if isinstance(last, Phrase) and last.kind == phrase.kind == NOUN:
        linked = [each for each in (last, phrase) if each.tables or each.columns]
        if len(linked) < 2:
            link = linked[0] if linked else phrase
            pieces[-1] = Phrase(NOUN, f"{last.text} {phrase.text}", link.tables, link.columns)
            return
    pieces.append(phrase)


def _phrase(
    tokens: Sequence[str], place: int, values: dict, names: dict, shared: frozenset[str]
) -> tuple[Phrase | None, int]:
    """The value, number or name that begins here, and how many tokens it has; (None, 1) where none does."""
    token, is_first = tokens[place], place == 0 or tokens[place - 1] in MARKS
    for length in range(min(5, len(tokens) - place), 0, -1):
        stretch = tokens[place : place + length]
        key = tuple(word.lower() for word in stretch)
        for text, columns in values.get(key, {}).items():
            if text.split() == stretch or len(text) > 2:
                return Phrase(VALUE, text, columns=tuple(columns)), length
        key = tuple(part for word in stretch for part in stems(word))
        if key in names and not (is_first and length == 1 and token.lower() in shared):  # "Name the cows"
            tables, columns = names[key]
            return Phrase(NOUN, " ".join(stretch), tuple(tables), tuple(columns)), length
    if token[0] in "'\"" or _DATE.fullmatch(token):
        return Phrase(VALUE, token.strip("'\"")), 1
    if token[0].isdigit():
        return Phrase(NUMBER, token.replace(",", "")), 1
    if "_" in token:
        return Phrase(NAME, token), 1
    if token[0].isupper() and not is_first and token.lower() not in shared:  # one that no row has yet
        return Phrase(VALUE, token), 1
    return None, 1


def _values(tables: Sequence[Table]) -> dict[tuple[str, ...], dict[str, list[tuple[Table, Column]]]]:
    """Texts in the rows by their words in small letters, with the columns that hold them."""
    values: dict[tuple[str, ...], dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for table in tables:
        for column in table.columns:
            for text in dict.fromkeys(column.values):
                key = tuple(word.lower() for word in words(text))
                if key and not text[0].isdigit():
                    values[key][text].append((table, column))
    return values


def _names(tables: Sequence[Table]) -> dict[tuple[str, ...], tuple[list[Table], list[tuple[Table, Column]]]]:
    """Tables and columns by the stems of their names."""
    names: dict[tuple[str, ...], tuple[list, list]] = defaultdict(lambda: ([], []))
    for table in tables:
        names[stems(table.name)][0].append(table)
        for column in table.columns:
            names[stems(column.name)][1].append((table, column))
    return names
