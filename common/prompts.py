"""The prompt of every method, in training and in testing, and the way back from a completion to SQL.

The system text is the specification's sentence, word for word, with the schema in single quotes as it is (not escaped).
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from common.data import Example

SYSTEM = (
    "The user asks a question. Your task is to generate the SQL query to answer that question. "
    "Return SQL query only. The context of the question is the following: '{context}'"
)
# What stands around a text and means nothing: space of all kinds, byte order marks, characters without width.
_BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff\u200b\u200c\u200d\u2060"
# Every pattern takes what is left where its end mark is missing, so that no text costs more than linear time.
# A mark with a quote on either side is a string of the statement.
_THINK = re.compile(r"(?:(?<!['\"])<think>|<think>(?!['\"])).*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_END_THINK = re.compile(r"(?<!['\"])</think>|</think>(?!['\"])", re.IGNORECASE)
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
_OPENING = re.compile(rf"(?:^|([\n:`>*]))[ \t]*(?={_START.pattern})", re.IGNORECASE)
# Inline code ends at the first backtick that opens no quoted name; such a name stands behind a space or an operator.
_INLINE = re.compile(r"(?>(?:[^`]*+(?<=[\s(,.=<>])`[^`]*+`)*+[^`]*+)(?=`)")
# What a semicolon may stand before: a statement, another semicolon, or the end of a trigger or a transaction.
_NEXT = re.compile(rf"{_START.pattern}|;|END(?=\s*(?:;|TRANSACTION\b|\Z))", re.IGNORECASE)
# A blank line before a heading, bold, or a capitalised word that is no SQL keyword: an explanation begins.
_PARAGRAPH = (
    r"\n[ \t\r]*\n(?=[A-Z][a-z]+[ ,:]|\*\*|#)(?!(?:From|Where|Group|Order|Having|Limit|Join|Left|Inner|Cross|On|And"
    r"|Or|Union|Intersect|Except|Values|Set|Select)\b)"
)
_TAG = r"<\|\w+\|>|</[a-z]+>|```"  # no SQL has one outside of strings and comments
_TOKEN = re.compile(
    rf"'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)|;[;\s]*|(?P<end>{_PARAGRAPH}|{_TAG})", re.DOTALL
)


def messages(example: "Example") -> list[dict[str, str]]:
    """The two messages of a prompt: system with the schema, user with the question."""
    return [
        {"role": "system", "content": SYSTEM.format(context=example.schema)},
        {"role": "user", "content": example.question},
    ]


def render(example: "Example", tokenizer: "PreTrainedTokenizerBase") -> str:
    """The prompt as text, up to where the answer begins; Qwen3's empty think block is part of it."""
    return tokenizer.apply_chat_template(
        messages(example), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )


def prompt_ids(example: "Example", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The prompt as token ids."""
    return tokenizer(render(example, tokenizer), add_special_tokens=False)["input_ids"]


def completion_ids(example: "Example", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The reference as token ids, the end token behind it: what follows `prompt_ids` in training."""
    return tokenizer(example.sql, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]


def extract_sql(completion: Any) -> str:
    """The SQL of a completion, without think block, Markdown fence or prose around it; "" where there is none.

    Never raises. Of several fenced blocks the first that begins like a statement counts, one labelled sql first.
    Prose before a statement is dropped where the statement begins a line or follows a colon; prose behind it where
    a semicolon ends the statement or a blank line parts them. What cannot be told apart is kept: the database judges.
    """
    text = completion if isinstance(completion, str) else ""
    text = _THINK.sub("\n", text)
    text = _END_THINK.split(text)[-1]  # the prompt may have opened the block
    blocks = [(label.lower(), body.strip(_BLANK)) for _, label, body in _FENCE.findall(text)]
    statements = [(label, body) for label, body in blocks if _begins_statement(body)]
    if statements:
        text = next((body for label, body in statements if label.startswith("sql")), statements[0][1])
    return _without_prose(text.strip(_BLANK)).strip(_BLANK)


def _begins_statement(text: str) -> bool:
    return _START.match(_after_comments(text)) is not None


def _after_comments(text: str, at: int = 0) -> str:
    """What follows `at` from the first character that is neither space nor in a comment, cut short; linear in time."""
    at = _past_comments(text, at)
    return text[at : at + 20]


def _past_comments(text: str, at: int) -> int:
    while at < len(text):
        if text[at] in _BLANK:
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
        if begin < 0 or not text[:begin].rstrip().endswith(":"):
            return None
    opening = _OPENING.search(text, begin)
    return (opening.end(), opening.group(1) or "") if opening else None


def _without_prose(text: str) -> str:
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
    for token in _TOKEN.finditer(text):
        if token["end"]:
            return text[: token.start()]
        if token.group()[0] == ";":
            rest = _after_comments(text, token.end())
            if rest and not _NEXT.match(rest):
                return text[: token.end()]
    return text
