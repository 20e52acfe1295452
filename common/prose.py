"""Is a paragraph prose, or can it belong to a statement? Told by words and marks, without a grammar.

Evidence is what no SQL has outside of strings and comments: a heading, a label such as `Note:`, a contraction, the end
of a sentence, words in a row. A paragraph with too little of it counts as SQL, right or wrong: a mistake must not go
lost with what is cut off. Covers English best; of other languages punctuation, marks and rows of words.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

# What stands around a text and means nothing: space of all kinds, byte order marks, characters without width.
BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff\u200b\u200c\u200d\u2060"
_ENOUGH = 2  # one sure sign, or two weak ones


def words(text: str) -> frozenset[str]:
    """The words of a text, for a list of them."""
    return frozenset(text.split())


# Words that a statement can go on with, or that begin another one.
_CLAUSES = words(
    "from where group order having limit offset join left right full inner outer cross natural on using and or not"
    " union intersect except minus values set select is isnull notnull in like ilike glob regexp rlike match between"
    " escape collate else when then end as window returning asc desc nulls over filter indexed do fetch qualify"
    " without with insert update delete replace create drop alter begin commit explain pragma add rename"
)
# Other words of SQL. A word of these two lists is none in a row of words.
_KEYWORDS = _CLAUSES | words(
    "by partition all any distinct exists case null nothing first next last row rows only key foreign primary unique"
    " constraint default check references generated of no to for if each after before instead into table view index"
    " trigger column cast conflict recursive materialized temp temporary cascade restrict action strict deferrable"
    " initially deferred always stored virtual preceding following current unbounded autoincrement int integer bigint"
    " unsigned double precision character varying varchar text real float numeric decimal boolean blob"
)
# The operand behind one of these words, or behind a mark, may have an alias.
_SOURCES = words("from join select distinct all update into returning over collate")
# What can stand behind an alias, or behind a table without one.
_ALIAS_ENDS = words(
    "where join left right full inner cross natural on using group order having limit offset union intersect except set"
    " from indexed window returning"
)
# Words of a sentence that nobody gives to a table or column,
_SURE = words(
    "the this that these those which we you they are was because an here there please their your our must would should"
    " will"
)
# and others that may be a name or an alias, but then no word follows.
_LIKELY = _SURE | words(
    "a an it its he she i my me so be been has have had does did can could may might since however therefore thus also"
    " note sure hope let what who how why at about per via than hence while both such but use uses used"
    " using means given returns retrieves selects finds gets"
)
# What can stand behind a name that is also a word of a sentence; "This left …" is one.
_NAME_ENDS = (_ALIAS_ENDS | words("and or as asc desc between in like then else when end")) - words("left right set")
_PRONOUNS = words("it its he she")  # may be an alias, but no table that has one
_MARKS = re.compile(
    r"#|\*\*|//|<!--|<[a-z][\w-]*>|\[/|[\\{}]"  # heading, bold, comment of another language, tag, LaTeX, JSON
    r"|[*_=~-]{3,}[ \t\r]*(?:\n|\Z)"  # a rule
    r"|\d+[.)][ \t]+\S|\(\d+ rows?\b"  # a numbered list, the number of rows
    r"|(?-i:In [^\W\d]\w*, )"  # a sentence: "In SQLite, …"
    r"|\|[^\n|]+\|(?:[^\n]+\|[ \t\r]*(?:\n|\Z)|[ \t\r]*\n\|)|\+[-=+]{3,}",  # a table: bars around a line and below
    re.IGNORECASE,
)
_ITEM = re.compile(r"[-*+>][ \t]+")  # of a list or a quotation; or an operator
_LABEL_IN_CAPITALS = re.compile(r"[A-Z ]+:(?:\s|\Z)")
_TITLE = re.compile(r"[^\W\d]\w*(?:[ \t]+[^\W\d]\w*){0,2}")
_PIECE = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)"
    r"|(?P<contraction>(?!(?:[xnebr]|u&)')[^\W\d]\w*['’](?=\w|\s))"
    r"|(?P<word>[^\W\d]\w*+(?:\.[^\W\d]\w*+)*+(?!\())"
    r"|(?P<call>[^\W\d]\w*\()"
    r"|(?P<number>\d+(?:\.\d+)?\w*)"
    r"|(?P<string>'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`|\[[^\]\n]*\])"
    rf"|(?P<comparison>[<>!=]=|[<>=])|(?P<line>\n)|(?P<mark>[^{re.escape(BLANK)}])",
    re.DOTALL | re.IGNORECASE,
)
_EMOJI = "\ufe0f"  # makes one of the character before
_FAR_EAST = "\u3040"  # from here on come scripts without space between words


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word, mark or string: its kind, its text in lower case, and what stands on either side."""

    kind: str = ""  # word, keyword, clause, call, number, string, comparison, contraction, line or mark
    text: str = ""
    capital: bool = False
    close: bool = False  # to the piece before
    apart: bool = False  # from what follows


def is_prose(paragraph: str) -> bool:
    """Whether no SQL, right or wrong, begins like this paragraph, which begins with neither space nor comment."""
    if _MARKS.match(paragraph):
        return True
    item = _ITEM.match(paragraph)
    pieces = _with_names(list(_pieces(paragraph[item.end() :] if item else paragraph)))
    if pieces and pieces[0].kind == "clause":
        if item:
            return True  # no operand begins so
        if paragraph[:2].isupper():
            return _LABEL_IN_CAPITALS.match(paragraph) is not None
    return _weight(pieces) >= _ENOUGH


def _with_names(pieces: list[_Piece]) -> list[_Piece]:
    """The pieces, words of a sentence without their text where they stand as a name: "Where This = 1", "This.a"."""
    tables = {piece.text.partition(".")[0] for piece in pieces if piece.kind == "word" and "." in piece.text}
    result = []
    for before, piece, after in zip([_Piece(), *pieces], pieces, [*pieces[1:], _Piece()], strict=False):
        if piece.kind == "word" and piece.text in _LIKELY:
            is_operand = before.kind in ("clause", "keyword", "comparison") or before.text in ",("
            is_operand = is_operand and bool(before.kind) and after.kind in ("", "line", "comparison", "clause")
            ends = after.kind != "clause" or after.text in _NAME_ENDS
            if piece.text in tables or (is_operand and ends):
                piece = replace(piece, text=" ")
        result.append(piece)
    return result


def is_title(paragraph: str) -> bool:
    """Whether it is one line of up to three words, none of them of SQL: a title where prose follows, else an alias."""
    title = _TITLE.fullmatch(paragraph.strip(BLANK))
    return title is not None and _KEYWORDS.isdisjoint(title.group().lower().split())


def _pieces(paragraph: str) -> Iterator[_Piece]:
    end, first = -1, True
    for match in _PIECE.finditer(paragraph):
        kind, text = match.lastgroup, match.group().lower()
        if kind is None:  # a comment
            continue
        if kind == "word" and text in _CLAUSES:
            kind = "clause"
        elif kind == "word" and text in _KEYWORDS and not first:  # "All customers …" begins a sentence
            kind = "keyword"
        following = paragraph[match.end() : match.end() + 1]
        apart = following in BLANK or following in "\"')*"  # true at the end as well
        yield _Piece(kind, text, match.group()[0].isupper(), match.start() == end, apart)
        end, first = match.end(), False


def _weight(pieces: list[_Piece]) -> int:
    """The evidence before the place from which the paragraph reads as SQL.

    That is a comparison; the end of a line that has a clause; a sentence that begins behind a clause.
    """
    earlier, previous = _Piece(), _Piece()
    weight, clause = 0, False
    reads_on = pieces[:1] and pieces[0].kind == "clause" or pieces[1:2] and pieces[1].text in _ALIAS_ENDS
    for piece in pieces:
        operand = previous.kind in ("word", "number", "string")
        sentence = operand and piece.capital and piece.text in _SURE
        if piece.kind == "comparison" or clause and (piece.kind == "line" or sentence):
            break
        if piece.kind == "line":
            continue
        if piece.kind in ("word", "number", "string", "keyword", "clause"):
            weight += _row_weight(earlier, previous, piece)
        elif piece.kind == "mark":
            weight += _mark_weight(previous, piece, clause=reads_on)
        weight += 2 * (piece.kind == "contraction")
        clause = clause or piece.kind == "clause"
        earlier, previous = previous, piece
    return weight + 2 * _is_unbroken(pieces)


def _row_weight(earlier: _Piece, previous: _Piece, piece: _Piece) -> int:
    """Of two words in a row, or a word and a number."""
    if previous.kind not in ("word", "number", "keyword", "clause"):
        return 0
    if piece.kind == "string":
        return 2 if previous.text in _SURE else 0
    if piece.kind in ("keyword", "clause"):
        no_clause = piece.text == "is" and previous.kind == "clause" and previous.text != "end"  # "LIMIT is …"
        return 2 if previous.text in _SURE or no_clause else int(piece.text == "by" and previous.kind == "word")
    if previous.text in _SURE | _PRONOUNS or piece.text in _SURE:
        return 2
    if previous.kind in ("keyword", "clause") or earlier.text in _SOURCES or earlier.kind == "mark":
        return 0
    return 2 if previous.text in _LIKELY else 1


def _mark_weight(previous: _Piece, piece: _Piece, *, clause: bool) -> int:
    """Of punctuation. clause: the paragraph begins like a clause, or like an alias and a clause."""
    mark = piece.text
    if not mark.isascii():
        return 2 if unicodedata.category(mark)[0] in "PS" or mark == _EMOJI else 0
    if mark in "\\{}" or mark in "/*." and piece.close and previous.text == mark:
        return 2
    if not piece.close or previous.kind in ("mark", "") and previous.text != ")":
        return 0
    if mark == ":" and piece.apart or mark in "!?":
        return 2
    return (1 if clause else 2) if mark == "." and piece.apart else 0


def _is_unbroken(pieces: list[_Piece]) -> bool:
    """Whether a sentence without space begins it: a long word of the Far East that no SQL follows."""
    if not pieces or pieces[0].kind != "word" or len(pieces[0].text) < 6 or max(pieces[0].text) < _FAR_EAST:
        return False
    return len(pieces) == 1 or pieces[1].kind in ("word", "number", "string", "line") or not pieces[1].text.isascii()
