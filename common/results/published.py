"""The published study's own figures, for a look beside ours. Never ranked with them: data, model and metric differ.

Source: the notebooks of github.com/antbartash/text-to-sql, its hybrid score on 5,851 questions, one sampled run.
"""

from types import MappingProxyType

SCORES = MappingProxyType(
    {
        "baseline": 0.679,
        "baseline in NF4": 0.648,
        "Qwen3-8B in NF4": 0.784,
        "full fine-tuning": 0.793,
        "LoRA, r 64, all linear": 0.774,
        "QLoRA": 0.755,
        "prompt tuning": 0.052,
        "DPO": 0.612,
        "SFT, then DPO": 0.702,
        "GRPO, rate 1e-5": 0.756,
        "GRPO, rate 1e-6": 0.757,
        "GRPO, rate 1e-8": 0.696,
        "GRPO, rate 1e-6, 4 generations": 0.758,
        "SFT, then GRPO": 0.755,
        "GRPO with a reward model": 0.680,
    }
)
# Our record that repairs each.
METHODS = MappingProxyType(
    {
        "baseline": "baseline",
        "baseline in NF4": "baseline-nf4",
        "Qwen3-8B in NF4": "baseline-8b-nf4",
        "full fine-tuning": "sft-full",
        "LoRA, r 64, all linear": "sft-lora",
        "QLoRA": "sft-qlora",
        "prompt tuning": "sft-prompt-random",
        "DPO": "dpo",
        "SFT, then DPO": "sft-dpo",
        "GRPO, rate 1e-5": "grpo-lr1e5",
        "GRPO, rate 1e-6": "grpo-lr1e6",
        "GRPO, rate 1e-8": "grpo-lr1e8",
        "GRPO, rate 1e-6, 4 generations": "grpo-lr1e6-ngen4",
        "SFT, then GRPO": "grpo-sft",
        "GRPO with a reward model": "grpo-rm",
    }
)


def markdown() -> str:
    """The scores as a table, each beside the name of our record."""
    lines = [f"| {name} | {score:.3f} | `{METHODS[name]}` |" for name, score in SCORES.items()]
    return "\n".join(["| published run | published score | our record |", "| --- | ---: | --- |", *lines])
