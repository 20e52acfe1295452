"""The prompt of every method, in training and in testing, and the way back from a completion to SQL.

The system text is the specification's sentence, word for word, with the schema in single quotes as it is (not escaped).
Shots, the answered examples of few-shot prompting, stand before it as whole turns: each has its own system message with
its own schema, its question, and its reference as the assistant's answer. So the prompt's end is the same text as
without shots, and all prompts begin with the same tokens, which are read once. The templates of Qwen2.5 and Qwen3 write
a later system message like a first one, and Qwen3's earlier answers have no think block; others may refuse.
"""

from collections.abc import Sequence
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
_NO_SHOTS = "take a model whose template has several system messages, or leave the shots out"

# Holds what a template may escape or trim.
_SAMPLE = {"schema": "CREATE TABLE \"a b\" (c TEXT DEFAULT 'é');\n-- 1 < 2 & 3", "question": "Which \"c\" is it, 'é'?"}


def messages(example: "Example", shots: "Sequence[Example]" = ()) -> list[dict[str, str]]:
    """The two messages of a prompt: system with the schema, user with the question; before them three for each shot."""
    turns = [[*messages(shot), {"role": "assistant", "content": shot.sql}] for shot in shots]
    return [
        *(message for turn in turns for message in turn),
        {"role": "system", "content": SYSTEM.format(context=example.schema)},
        {"role": "user", "content": example.question},
    ]


def render(example: "Example", tokenizer: "PreTrainedTokenizerBase", shots: "Sequence[Example]" = ()) -> str:
    """The prompt as text, up to where the answer begins; Qwen3's empty think block is part of it.

    Raises UserError where the tokenizer's chat template cannot write shots.
    """
    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    if not shots:
        return tokenizer.apply_chat_template(messages(example), **options)
    conversation = messages(example, shots)
    try:
        prompt = tokenizer.apply_chat_template(conversation, **options)
    except Exception as error:  # as in `check_tokenizer`
        raise UserError(f"the model's chat template fails on shots ({_reason(error)}); {_NO_SHOTS}") from None
    if not all(message["content"] in prompt for message in conversation):
        raise UserError(f"the model's chat template leaves out what shots say; {_NO_SHOTS}")
    return prompt


def prompt_ids(example: "Example", tokenizer: "PreTrainedTokenizerBase", shots: "Sequence[Example]" = ()) -> list[int]:
    """The prompt as token ids. Raises UserError as `render`."""
    return tokenizer(render(example, tokenizer, shots), add_special_tokens=False)["input_ids"]


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
        raise UserError(
            f"the chat template of {model_id} fails on a system message ({_reason(error)}); {advice}"
        ) from None
    system, user = (message["content"] for message in messages(example))
    if system not in prompt:
        raise UserError(
            f"the chat template of {model_id} leaves out the system message, which has the schema; {advice}"
        )
    if user not in prompt:
        raise UserError(f"the chat template of {model_id} leaves out the question; take a model whose template has it")


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
