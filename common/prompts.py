"""The prompt of every method, in training and in testing, and the way back from a completion to SQL.

The system text is the specification's sentence, word for word, with the schema in single quotes as it is (not escaped).
"""

from types import SimpleNamespace
from typing import TYPE_CHECKING

from common.extraction import extract_sql
from common.settings import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from common.data import Example

__all__ = ("SYSTEM", "check_tokenizer", "completion_ids", "extract_sql", "messages", "prompt_ids", "render")
SYSTEM = (
    "The user asks a question. Your task is to generate the SQL query to answer that question. "
    "Return SQL query only. The context of the question is the following: '{context}'"
)

# Holds what a template may escape or trim.
_SAMPLE = {"schema": "CREATE TABLE \"a b\" (c TEXT DEFAULT 'é');\n-- 1 < 2 & 3", "question": "Which \"c\" is it, 'é'?"}


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


def check_tokenizer(tokenizer: "PreTrainedTokenizerBase", model_id: str) -> None:
    """Raise UserError where prompts of this tokenizer would lack schema or question, or completions their end.

    Renders one prompt. Not covered: a template that says something else for longer texts, or leaves out the answer's
    opening.
    """
    if tokenizer.chat_template is None:
        raise UserError(f"{model_id} has no chat template; take an instruction-tuned model")
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"{model_id} has no end token; name its eos_token in tokenizer_config.json, or take another model"
        )
    example = SimpleNamespace(**_SAMPLE)
    advice = "take a model whose template has a system role"
    try:
        prompt = render(example, tokenizer)
    except Exception as error:  # the template is a program of the model's makers, and raises what it likes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"the chat template of {model_id} fails on a system message ({reason[:200]}); {advice}"
        ) from None
    system, user = (message["content"] for message in messages(example))
    if system not in prompt:
        raise UserError(
            f"the chat template of {model_id} leaves out the system message, which has the schema; {advice}"
        )
    if user not in prompt:
        raise UserError(f"the chat template of {model_id} leaves out the question; take a model whose template has it")
