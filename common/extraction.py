"""The way back from a completion to SQL: without reasoning, tags, JSON, Markdown fences or prose around it.

Never raises, and takes linear time. Not covered: prose on the line of a statement or on the next one where neither
colon nor semicolon parts them; JSON with text around it; a boxed answer.
"""

import json
import re
from itertools import islice
from typing import Any

from common.prose import BLANK, is_prose, is_title, words

# Every pattern takes what is left where its end mark is missing, so that no text costs more than linear time.
# A mark with a quote on either side is a string of the statement.
_THINK = re.compile(r"(?:(?<!['\"])<think>|<think>(?!['\"])).*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_REASONING = r"think(?:ing)?|thoughts?|reason(?:ing|s)?|scratch_?pad|analysis|reflection|rationale|explanation|plan|cot"
_ANSWER = (
    r"(?:final_?|sql_?)?answer|(?:final_?)?sql(?:_?query)?|query|code|solution|output|response|result|final|tool_call"
)
# The names above stand in strings as well ('%<plan>%'), so such a block begins a line or follows a space or a tag.
_BLOCK = re.compile(
    rf"(?<![^\s>])<({_REASONING})>.*?(?:</\1>|(?=(?<![^\s>.])<(?:{_ANSWER})>)|\Z)", re.DOTALL | re.IGNORECASE
)
_END_BLOCK = re.compile(
    rf"(?<!['\"])</think>|</think>(?!['\"])|(?<!['\"%])</(?!explanation)(?:{_REASONING})>(?!['\"%])", re.IGNORECASE
)
_ANSWERS = re.compile(rf"(?<!['\"%])<({_ANSWER})>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_START = re.compile(
    r"(?:SELECT|WITH|INSERT|REPLACE|UPDATE|DELETE|CREATE|ALTER|DROP|VALUES|EXPLAIN|PRAGMA|ATTACH|DETACH|VACUUM|REINDEX|ANALYZE"
    r"|BEGIN|COMMIT|ROLLBACK|SAVEPOINT)\b(?!:)",
    re.IGNORECASE,
)
# The label of a fence, such as sql, is no statement's first word: ```SELECT 1``` has none.
_FENCE = re.compile(
    rf"((?<!['\"])```|```(?!['\"])|~~~)[ \t]*((?!{_START.pattern})[a-z0-9_+-]*)[ \t]*\r?\n?"
    r"(.*?)(?:(?<!['\"])\1|\1(?!['\"])|\Z)",
    re.DOTALL | re.IGNORECASE,
)
# A statement behind prose: at the start of a line, behind a colon or a tag, in inline code or bold.
_OPENING = re.compile(rf"(?:^|([\n:：`>*]))[ \t]*(?={_START.pattern})", re.IGNORECASE)
# Inline code ends at the first backtick that opens no quoted name; such a name stands behind a space or an operator.
_INLINE = re.compile(r"(?>(?:[^`]*+(?<=[\s(,.=<>])`[^`]*+`)*+[^`]*+)(?=`)")
# What a semicolon may stand before: a statement, another semicolon, or the end of a trigger or a transaction.
_NEXT = re.compile(rf"{_START.pattern}|;|END(?=\s*(?:;|TRANSACTION\b|\Z))", re.IGNORECASE)
_SPACE = f"[{re.escape(BLANK.replace(chr(10), ''))}]"
_BLANK_LINE = rf"\n(?:{_SPACE}*+\n)++"
_TAG = r"<\|\w+\|>|<｜[^\s｜]+｜>|<end_of_turn>|</[a-z]+>|```"  # no SQL has one outside of strings and comments
_TOKEN = re.compile(
    r"(?P<string>'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z))|--[^\n]*|/\*.*?(?:\*/|\Z)"
    rf"|(?P<semicolon>;[;\s]*)|(?P<blank>{_BLANK_LINE})|(?P<tag>{_TAG})",
    re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_QUIET = re.compile(rf"'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)|{_COMMENT.pattern}", re.DOTALL)  # what opens no bracket
_CASE, _END = re.compile(r"\bcase\b", re.IGNORECASE), re.compile(r"\bend\b", re.IGNORECASE)
# What a statement cannot end with: these words, and these marks. "RETURNING *" can end one, "SELECT *" cannot.
_INCOMPLETE = words(
    "select distinct all from where group order by having and or not on using limit offset set values into join left"
    " right full inner outer cross natural as in like is between case when then else with union intersect except insert"
    " update create table index unique alter add column rename to drop over partition window escape collate returning"
    " default check references primary foreign"
)
_LAST = re.compile(r"(?:\.?\w+|(?:returning\s+)?[^\w\s])\Z", re.IGNORECASE)
_LOOKS = 100  # paragraphs that are looked at; what has more is no answer
_WINDOW = 600  # characters of each
_PARTS = 1000  # fences, and answer tags, that are looked at
# What an answer in JSON calls its SQL, without regard to case, space or underscores; the first counts.
_KEYS = ("sql", "sqlquery", "finalsql", "sqlstatement", "query", "statement", "answer", "finalanswer", "sqlanswer")
_KEYS += ("code", "solution", "output", "response", "result")
_JSON = json.JSONDecoder(strict=False)  # line breaks in strings are taken as they are


def extract_sql(completion: Any) -> str:
    """The SQL of a completion, without think block, Markdown fence or prose around it; "" where there is none.

    Never raises. What an answer tag or a JSON object holds under a key such as sql counts alone. Of several fenced
    blocks the first that begins like a statement counts, one labelled sql first. Prose before a statement is dropped
    where the statement begins a line or follows a colon; prose behind it where a semicolon ends the statement or,
    outside of fences and JSON, a blank line parts them, the SQL before it is whole, and no SQL begins like what
    follows (`common.prose`). What cannot be told apart is kept: the database judges.
    """
    text = completion if isinstance(completion, str) else ""
    text = _BLOCK.sub("\n", _THINK.sub("\n", text))
    text = _END_BLOCK.split(text)[-1]  # the prompt may have depth the block
    text = next((tag[2] for tag in islice(_ANSWERS.finditer(text), _PARTS) if _holds_statement(tag[2])), text)
    value = _json_sql(text)
    text, whole = (text, False) if value is None else (value, True)
    blocks = [(fence[2].lower(), _block(fence[3])) for fence in islice(_FENCE.finditer(text), _PARTS)]
    statements = [(label, body) for label, body in blocks if _begins_statement(body)]
    if statements:
        text, whole = next((body for label, body in statements if label.startswith("sql")), statements[0][1]), True
    return _without_prose(text.strip(BLANK), whole=whole).strip(BLANK)


def _block(body: str) -> str:
    """The SQL of a fence's body, which may be JSON."""
    value = _json_sql(body)
    return (body if value is None else value).strip(BLANK)


def _json_sql(text: str) -> str | None:
    """The SQL of a text that is one JSON object, or of an object in it; None where there is none under such a key."""
    text = text.strip(BLANK)
    if not text.startswith("{"):
        return None
    try:
        value, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    rest = text[end:].lstrip(BLANK)
    if rest and not re.match(_TAG, rest):
        return None
    objects = [*(inner for inner in value.values() if isinstance(inner, dict)), value]  # an outer key counts first
    values = {re.sub(r"[\W_]", "", key).lower(): value for inner in objects for key, value in inner.items()}
    texts = (values[key] for key in _KEYS if isinstance(values.get(key), str))
    return next((text for text in texts if _holds_statement(text)), None)


def _holds_statement(text: str) -> bool:
    """Whether a text begins with a statement, or has one behind prose, in a fence or in JSON."""
    text = text.strip(BLANK)
    return _begins_statement(text) or _opening(text) is not None or _json_sql(text) is not None


def _begins_statement(text: str) -> bool:
    return _START.match(_after_comments(text)) is not None


def _after_comments(text: str, at: int = 0) -> str:
    """What follows `at` from the first character that is neither space nor in a comment, cut short; linear in time."""
    at = _past_comments(text, at)
    return text[at : at + 20]


def _past_comments(text: str, at: int) -> int:
    while at < len(text):
        if text[at] in BLANK:
            at += 1
        elif text.startswith("--", at):
            at = _past(text, "\n", at)
        elif text.startswith("/*", at):
            at = _past(text, "*/", at + 2)
        else:
            break
    return at


def _past(text: str, mark: str, start: int) -> int:
    end = text.find(mark, start)
    return len(text) if end < 0 else end + len(mark)


def _opening(text: str) -> tuple[int, str] | None:
    """Where a statement begins behind prose, and the mark before it; None where no prose can be told from it."""
    begin = 0
    if _begins_statement(text):
        # "Select all names:" is prose: no line of SQL ends with a colon.
        begin = text.find("\n", _past_comments(text, 0))
        if begin < 0 or not (text[:begin].rstrip().endswith(":") or is_prose(_paragraph(text, 0))):
            return None
    opening = _OPENING.search(text, begin)
    return (opening.end(), opening.group(1) or "") if opening else None


def _without_prose(text: str, *, whole: bool) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and _begins_statement(text[1:-1]):
        text = text[1:-1]
    opening = _opening(text)
    if opening:
        text = text[opening[0] :]
        if opening[1] == "`":
            inline = _INLINE.match(text)
            text = inline.group() if inline else text.rpartition("`")[0] or text
        elif opening[1] == "*":
            text = text.rstrip("*")
    elif not _begins_statement(text):
        return text.strip("`")
    return text[: _end(text, whole=whole)]


def _end(text: str, *, whole: bool) -> int:
    """Where the statement that begins `text` ends. whole: at no blank line."""
    begin = string = depth = 0  # a stretch between blank lines; the last string's end; brackets and CASEs
    last, title, looks = "", None, _LOOKS
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "string":
            string = token.end()
        elif kind == "tag":
            return token.start()
        elif kind == "semicolon":
            rest = _after_comments(text, token.end())
            if rest and not _NEXT.match(rest):
                return token.end()
            if rest and looks:  # "Select the names …" after a semicolon
                looks -= 1
                if is_prose(_paragraph(text, token.end())):
                    return token.end()
            begin, depth, last, title = token.end(), 0, "", None
        elif kind == "blank" and looks and not whole:
            looks -= 1
            stretch = _QUIET.sub(" ", text[begin : token.start()])
            depth = max(0, depth + stretch.count("(") - stretch.count(")"))
            depth = max(0, depth + len(_CASE.findall(stretch)) - len(_END.findall(stretch)))
            tail = _COMMENT.sub(" ", text[max(begin, string) : token.start()]).rstrip(BLANK)
            last = tail or ("''" if string > begin else last)
            begin = token.end()
            if depth or not _can_end(last):
                title = None
                continue
            paragraph = _paragraph(text, token.end())
            if is_prose(paragraph):
                return token.start() if title is None else title
            if not is_title(paragraph):
                title = None
            elif title is None:
                title = token.start()
    return len(text)


def _can_end(sql: str) -> bool:
    """Whether a statement can end with the last word or mark of this SQL."""
    last = _LAST.search(sql[-80:])
    if last is None:
        return False
    word = last.group().lower()
    if word[-1] == "*":
        return word.startswith("returning")
    return word[-1] in ")'\"`]?" or (word[-1].isalnum() or word[-1] == "_") and word not in _INCOMPLETE


def _paragraph(text: str, start: int) -> str:
    """What stands from `start` up to the next blank line, from the first code on; a rule where no code follows."""
    window = text[start : start + _WINDOW]
    code = window[_past_comments(window, 0) :]
    return re.split(_BLANK_LINE, code, maxsplit=1)[0] if code else window.strip(BLANK)[:3]
