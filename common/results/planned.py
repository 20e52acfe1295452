"""The differences that the study asks for, each tested on paired rows, with one correction over all of them.

PLANNED is the study's list, made before its results; every run's difference to the baseline belongs to it too. Pairs
of which a record is missing are left out: the family is what is there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.results.comparable import same_base
from common.results.entries import Entry, splits
from common.results.ledger import BASELINE
from common.statistics import difference, holm, of_split

if TYPE_CHECKING:
    import pandas

LARGER = "baseline-8b-nf4"
PLANNED = (
    ("sft-full", "sft-lora"),  # all weights or an adapter
    ("example-fullft", "example-lora"),
    ("sft-lora", "sft-qlora"),  # beside whole weights or weights of four bits
    ("example-lora", "example-qlora"),
    ("sft-qlora", "sft-qlora-merged"),  # as trained, or added to the whole weights
    ("sft-full", "example-fullft"),  # searched or not
    ("sft-lora", "example-lora"),
    ("sft-qlora", "example-qlora"),
    ("sft-prompt-text", "sft-prompt-random"),  # where a prompt's training starts
    ("sft-lora", "baseline-3shot"),  # training or examples in the prompt
    ("sft-lora", LARGER),  # a small model trained or a larger one as it comes
    ("example-lora", LARGER),
    ("sft-continued", "sft-lora"),  # longer on the same rows, or on more rows
    ("sft-more", "sft-continued"),
    ("dpo", "baseline-nf4"),  # which is where it starts
    ("sft-dpo", "dpo"),  # preferences after SFT, against none before and against more of SFT
    ("sft-dpo", "sft-lora"),
    ("sft-dpo", "sft-continued"),
    ("sft-dpo", "sft-more"),
    ("grpo-lr1e6", "grpo-lr1e5"),  # rewards: the rate, the group, the start, and who judges
    ("grpo-lr1e6", "grpo-lr1e8"),
    ("grpo-lr1e6-ngen4", "grpo-lr1e6"),
    ("grpo-sft", "sft-lora"),
    ("grpo-sft", "grpo-sft-continued"),
    ("grpo-sft", "grpo-sft-more"),
    ("grpo-sft", "sft-dpo"),
    ("grpo-sft-anchored", "grpo-sft"),  # with the references of its prompts, and against more of them
    ("grpo-sft-anchored", "grpo-sft-more"),
    ("grpo-rm", "grpo-lr1e5"),
)
_ACROSS = {LARGER}  # the one comparison of two base models that the study asks for


def planned(entries: Sequence[Entry]) -> "pandas.DataFrame":
    """One line a planned pair of which both are among the runs, indexed by (method, other), the study's list first:
    `value` (method − other: right answers on the rows of `test` that both have a verdict for), low, high, n, groups, p,
    p_holm over all lines, `discordant` and `smallest`, see `PairedDifference`; and the difference on each other split
    as `<split>`, `<split>_low`, `<split>_high`.

    Pairs across base models are left out but for those with the larger one.
    """
    import pandas

    runs = {entry.method: entry for entry in entries if entry.rows}
    pairs = [*PLANNED, *((method, BASELINE) for method in runs if method != BASELINE)]
    lines = {}
    for method, other in pairs:
        if {method, other} <= runs.keys() and _is_fair(runs[method], runs[other]):
            line = difference(*(of_split(runs[name].predictions) for name in (other, method))).as_dict()
            for split in splits([runs[method]]):
                other_rows, rows = (of_split(runs[name].predictions, split) for name in (other, method))
                pair = difference(other_rows, rows).as_dict()
                line |= {split: pair["value"], f"{split}_low": pair["low"], f"{split}_high": pair["high"]}
            lines[method, other] = line
    columns = ["value", "low", "high", "n", "p", "discordant", "groups", "smallest"]
    table = pandas.DataFrame(list(lines.values()), columns=None if lines else columns)
    table.index = pandas.MultiIndex.from_tuples(list(lines), names=["method", "other"]) if lines else table.index
    return table.assign(p_holm=holm(list(table["p"])))


def _is_fair(entry: Entry, other: Entry) -> bool:
    return same_base(entry.record, other.record) or other.method in _ACROSS
