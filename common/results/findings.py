"""What was found, a sentence a question: made of the planned pairs of which both records are there.

QUESTIONS is the study's list, HEADLINES those that the README shows. A sentence says "higher" or "lower" only where
Holm's p over all planned pairs is below .05; elsewhere it says that the rows show no difference. Words that name a
cause are left to the notebooks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.entries import Entry, select, splits
from common.results.formats import interval, is_absent, number, p_value
from common.results.ledger import BASELINE
from common.results.planned import LARGER, planned

if TYPE_CHECKING:
    import pandas

LEVEL = 0.05
_FRESH = "fine-tuning on the references of fresh rows for the same seconds"
# method, what it is compared with, and the words for both.
QUESTIONS = (
    ("example-lora", BASELINE, "One pass of LoRA over a few hundred rows", "the model as it comes"),
    ("example-fullft", "example-lora", "Training all weights", "LoRA"),
    ("example-lora", "example-qlora", "LoRA beside the weights as they come", "QLoRA, beside the same in NF4"),
    ("baseline-nf4", BASELINE, "The untrained model in NF4", "the same as it comes"),
    ("sft-lora", "example-lora", "LoRA with searched settings, three passes", "LoRA with the profile's, one pass"),
    ("sft-qlora", "example-qlora", "QLoRA with searched settings", "QLoRA with the profile's, both in one pass"),
    ("sft-full", "sft-lora", "Training all weights, searched", "LoRA, searched"),
    ("sft-qlora", "sft-qlora-merged", "QLoRA, searched, as trained", "the same, merged into the weights as they come"),
    ("sft-lora", LARGER, "LoRA, searched", "a model three times as large in NF4, untrained"),
    ("sft-prompt-text", "sft-prompt-random", "Prompt tuning that starts as words", "one that starts at random"),
    ("sft-prompt-random", BASELINE, "Prompt tuning, searched, from random tokens", "the model as it comes"),
    ("baseline-3shot", BASELINE, "Three examples in the prompt", "none"),
    ("example-dpo", BASELINE, "DPO with an SFT term, on pairs certified by execution", "the model that it starts from"),
    ("sft-dpo", "sft-lora", "DPO after fine-tuning", "the fine-tuned model"),
    ("sft-dpo", "sft-continued", "DPO after fine-tuning", "fine-tuning on its own rows for the same seconds"),
    ("sft-dpo", "sft-more", "DPO after fine-tuning", _FRESH),
    ("grpo-lr1e5", BASELINE, "GRPO on execution rewards", "the model that it starts from"),
    ("grpo-sft", "sft-lora", "GRPO after fine-tuning", "the fine-tuned model"),
    ("grpo-sft", "grpo-sft-continued", "GRPO after fine-tuning", "fine-tuning on its own rows for the same seconds"),
    ("grpo-sft", "grpo-sft-more", "GRPO after fine-tuning", _FRESH),
    ("grpo-sft-anchored", "grpo-sft", "GRPO with its prompts' references as an anchor", "GRPO by rewards alone"),
    (
        "grpo-sft-anchored",
        "grpo-sft-more",
        "GRPO with that anchor",
        "fine-tuning on the references of fresh rows for the seconds of GRPO alone",
    ),
    ("grpo-rm", "grpo-lr1e5", "GRPO with a reward model", "GRPO without"),
)
# One or two a group of methods: fine-tuning, its search, size, preferences, rewards, and rewards against labels.
HEADLINES = (
    ("example-lora", BASELINE),
    ("sft-lora", "example-lora"),
    ("sft-qlora", "example-qlora"),
    ("sft-lora", LARGER),
    ("sft-dpo", "sft-lora"),
    ("grpo-lr1e5", BASELINE),
    ("grpo-sft", "sft-lora"),
    ("grpo-sft", "grpo-sft-more"),
)


def markdown(place: Path, *, headlines: bool = False) -> str:
    """A list of one sentence a question, of HEADLINES alone if asked; "" where no question has both records."""
    entries = select(place)
    pairs = planned(entries)
    names, runs = splits(entries), {entry.method: entry for entry in entries}
    return "\n".join(
        f"- {_sentence(runs[method], runs[other], words, others, pairs.loc[(method, other)], names)}"
        for method, other, words, others in QUESTIONS
        if (method, other) in pairs.index and (not headlines or (method, other) in HEADLINES)
    )


def _sentence(entry: Entry, other: Entry, words: str, others: str, pair: "pandas.Series", names: Sequence[str]) -> str:
    values = f"{number(entry.right('test')['value'])} against {number(other.right('test')['value'])}"
    text = (
        f"**{words}** against {others}: {verdict(pair)}. Robust match {values}, "
        f"{interval(pair.to_dict(), '+')}, Holm p {p_value(pair['p_holm'])}"
    )
    there = [name for name in names if name in pair and not is_absent(pair[name])]
    differences = ", ".join(f"{number(pair[name], '+')} on `{name}`" for name in there)
    return f"{text}; {differences}." if differences else f"{text}."


def verdict(pair: "pandas.Series") -> str:
    """higher, lower, or that the rows show no difference."""
    if not pair["p_holm"] < LEVEL:
        return f"no difference that {pair['n']:,.0f} rows could show"
    return "higher" if pair["value"] > 0 else "lower"
