"""The prompt of every method, in training and in testing, and the way back from a completion to SQL.

The system text is the specification's sentence, word for word, with the schema in single quotes as it is (not escaped).
"""

import re
from typing import TYPE_CHECKING, Any

from common.data import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = (
    "The user asks a question. Your task is to generate the SQL query to answer that question. "
    "Return SQL query only. The context of the question is the following: '{context}'"
)
# Every pattern takes what is left where its end mark is missing, so that no text costs more than linear time.
_THINK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n?(.*?)(?:```|\Z)", re.DOTALL)
_START = re.compile(
    r"(?:SELECT|WITH|INSERT|REPLACE|UPDATE|DELETE|CREATE|ALTER|DROP|VALUES|EXPLAIN|PRAGMA|ATTACH|DETACH|VACUUM|REINDEX|ANALYZE"
    r"|BEGIN|COMMIT|ROLLBACK|SAVEPOINT)\b",
    re.IGNORECASE,
)
# A statement behind prose: at the start of a line, behind a colon, or in inline code.
_OPENING = re.compile(rf"(?:^|([\n:`]))[ \t]*(?={_START.pattern})", re.IGNORECASE)
_TOKEN = re.compile(r"'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)|;", re.DOTALL)
_WORD = re.compile(r"\s*([^\W\d_])")
# A blank line before a capitalised word that is no SQL keyword: an explanation begins.
_PARAGRAPH = re.compile(
    r"\n[ \t]*\n(?=[A-Z][a-z]+[ ,])(?!(?:From|Where|Group|Order|Having|Limit|Join|Left|Inner|Cross|On|And|Or|Union"
    r"|Intersect|Except|Values|Set|Select)\b)"
)


def messages(example: Example) -> list[dict[str, str]]:
    """The two messages of a prompt: system with the schema, user with the question."""
    return [
        {"role": "system", "content": SYSTEM.format(context=example.schema)},
        {"role": "user", "content": example.question},
    ]


def render(example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The prompt as text, up to where the answer begins; Qwen3's empty think block is part of it."""
    return tokenizer.apply_chat_template(
        messages(example), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )


def prompt_ids(example: Example, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The prompt as token ids."""
    return tokenizer(render(example, tokenizer), add_special_tokens=False)["input_ids"]


def completion_ids(example: Example, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The reference as token ids, the end token behind it: what follows `prompt_ids` in training."""
    return tokenizer(example.sql, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]


def extract_sql(completion: Any) -> str:
    """The SQL of a completion, without think block, Markdown fence or prose around it; "" where there is none.

    Never raises. Of several fenced blocks the first that begins like a statement counts, one labelled sql first.
    Prose before a statement is dropped where the statement begins a line or follows a colon; prose behind it where
    a semicolon ends the statement or a blank line parts them. What cannot be told apart is kept: the database judges.
    """
    text = completion if isinstance(completion, str) else ""
    text = _THINK.sub("", text)
    text = re.split(r"</think>", text, flags=re.IGNORECASE)[-1]  # the prompt may have opened the block
    blocks = [(label.lower(), body.strip()) for label, body in _FENCE.findall(text)]
    statements = [(label, body) for label, body in blocks if _begins_statement(body)]
    if statements:
        return next((body for label, body in statements if label.startswith("sql")), statements[0][1])
    return _without_prose(text.strip())


def _begins_statement(text: str) -> bool:
    return _START.match(_after_comments(text)) is not None


def _after_comments(text: str) -> str:
    """The text from its first character that is neither space nor in a comment; linear in its length."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text.startswith("--", at):
            at = _past(text, "\n", at)
        elif text.startswith("/*", at):
            at = _past(text, "*/", at + 2)
        else:
            break
    return text[at : at + 20]


def _past(text: str, mark: str, start: int) -> int:
    end = text.find(mark, start)
    return len(text) if end < 0 else end + len(mark)


def _without_prose(text: str) -> str:
    if not _begins_statement(text):
        opening = _OPENING.search(text)
        if opening is None:
            return text.strip("`").strip()
        text = text[opening.end() :]
        if opening.group(1) == "`":
            text = text[: text.rfind("`")] if "`" in text else text
    text = text.split("```", maxsplit=1)[0]
    for token in _TOKEN.finditer(text):
        if token.group() == ";":
            word = _WORD.match(text, token.end())
            if word and not _START.match(text, word.start(1)):
                return text[: token.end()].strip()
    return _PARAGRAPH.split(text, maxsplit=1)[0].strip()
