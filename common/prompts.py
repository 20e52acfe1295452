"""The prompt of every method, in training and in testing, and the way back from a completion to SQL.

The system text is the specification's sentence, word for word, with the schema in single quotes as it is (not escaped).
"""

from typing import TYPE_CHECKING

from common.extraction import extract_sql

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from common.data import Example

__all__ = ("SYSTEM", "completion_ids", "extract_sql", "messages", "prompt_ids", "render")
SYSTEM = (
    "The user asks a question. Your task is to generate the SQL query to answer that question. "
    "Return SQL query only. The context of the question is the following: '{context}'"
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
