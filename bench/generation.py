"""How fast answers are generated: the published loop against `common.generation`, in one run, on the same rows.

All answer greedily with the same model; they take turns, so that a machine that slows down slows all. The published
loop computes in float32, as it did; ours in the arithmetic that the hardware is built for, and where that is another
one in float32, too, with the answers counted that differ. On a CPU ours once leaves out oneDNN's layout of the weights.
The library's own continuous batching answers a few rows once, or all in turns. The first rows are answered once more
one at a time: where an answer differs from the batch's, the gap between the logits of the two tokens at which they part
is reported. Once, on fewer rows, answers may be as long as the study let them; and samples of few prompts are drawn as
GRPO does (`bench.generation_groups`). Loading and scoring are in no rate.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from unittest import mock

import torch

from bench import generation_groups, library_generation, published_generation
from bench.measure import Ratio, Spread, measurement, out_file, record, show, timed, write
from common.arithmetic import native_bfloat16
from common.data import load_examples
from common.generation import Completion, complete
from common.generation.onednn import available
from common.models import LoadedModel, load_model
from common.profiles import EMBEDDED_MODEL, resolve
from common.prompts import prompt_ids
from common.settings import UserError, run_cli

PACKAGES = ("torch", "transformers", "peft", "tokenizers")
PUBLISHED_LIMIT = 512  # new tokens
FASTER = {"cpu": (4, 8), "cuda": (8, 8)}  # the targets, times: for short answers, and for published ones
Recipe = Callable[[], list[Completion]]
Runs = dict[str, list[tuple[float, list[Completion]]]]  # recipe → seconds and answers of each repetition


def target(device: str, is_long: bool) -> dict[str, float] | None:
    """How many times faster ours has to be; None on a CPU that has nothing but float32."""
    return {"at_least": FASTER[device][is_long]} if device == "cuda" or native_bfloat16() else None


def recipes(
    published: LoadedModel, loaded: LoadedModel, prompts: Sequence[list[int]], *, max_new_tokens: int, batch_size: int
) -> dict[str, Recipe]:
    """Ways of answering the prompts, by name: "float32", ours with the published loop's model, only where that is not
    also the model of "ours"; "plain", ours without oneDNN's layout; "library", transformers' own."""

    def ours(model: LoadedModel) -> list[Completion]:
        return complete(model, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)

    def without_layout() -> list[Completion]:
        with mock.patch("common.generation.answers.laid_out", nullcontext):  # no switch in the product for this alone
            return ours(loaded)

    ways: dict[str, Recipe] = {
        "published": lambda: published_generation.complete(published, prompts, max_new_tokens=max_new_tokens),
        "ours": lambda: ours(loaded),
        "plain": without_layout,
        "library": lambda: library_generation.complete(loaded, prompts, max_new_tokens=max_new_tokens),
    }
    if published is not loaded:
        ways["float32"] = lambda: ours(published)
    return ways


def in_turns(ways: dict[str, Recipe], repetitions: int) -> Runs:
    """Each way as often as that; who goes first changes."""
    runs: Runs = {name: [] for name in ways}
    for number in range(repetitions):
        for name in list(ways) if number % 2 == 0 else list(ways)[::-1]:
            runs[name].append(timed(ways[name]))
            print(f"{number + 1}/{repetitions} {name}: {runs[name][-1][0]:.1f} s", flush=True)
    return runs


@torch.inference_mode()
def gap(loaded: LoadedModel, prompt: list[int], one: Completion, other: Completion) -> float:
    """The difference between the logits of the two tokens at which two answers part, read in one pass."""
    at = len(os.path.commonprefix([one.token_ids, other.token_ids]))
    ids = torch.tensor([[*prompt, *one.token_ids[:at]]], device=loaded.model.device)
    ranked = loaded.model(ids).logits[0, -1].topk(2).values
    return (ranked[0] - ranked[1]).item()


def differing(one: Sequence[Completion], other: Sequence[Completion]) -> list[int]:
    """The numbers of the rows whose answers differ."""
    return [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def rates(runs: Runs, *, limit: int, prefix: str, goal: dict[str, float] | None) -> list[dict]:
    """Rows and tokens a second, and their ratios, for the ways that there are. limit: the most new tokens."""
    rows, tokens = {}, {}
    for name, repetitions in runs.items():
        rows[name] = Spread(tuple(len(answers) / seconds for seconds, answers in repetitions))
        tokens[name] = Spread(tuple(sum(a.new_tokens for a in answers) / seconds for seconds, answers in repetitions))
    most = f"at most {limit} new tokens"

    def against(name: str, over: str = "ours") -> Ratio:
        return Ratio(rows[over], rows[name])

    lines = []
    if "published" in runs:
        lines += [
            measurement(f"{prefix}rows-published", f"{most}, published loop: rows", "rows/s", rows["published"]),
            measurement(f"{prefix}rows", f"{most}, ours: rows", "rows/s", rows["ours"]),
            measurement(f"{prefix}speedup", "– against the published loop", "×", against("published"), goal),
            measurement(f"{prefix}tokens-published", "published loop: tokens", "tokens/s", tokens["published"]),
            measurement(f"{prefix}tokens", "ours: tokens of answers", "tokens/s", tokens["ours"]),
        ]
    if "float32" in runs:
        ratio = against("published", "float32")
        lines += [
            measurement(f"{prefix}rows-float32", f"{most}, ours in float32: rows", "rows/s", rows["float32"]),
            measurement(f"{prefix}speedup-float32", "– against the published loop", "×", ratio),
        ]
    if "plain" in runs:
        what = f"{most}, ours without oneDNN's layout of weights: rows"
        lines.append(measurement(f"{prefix}rows-plain", what, "rows/s", rows["plain"]))
        lines.append(measurement(f"{prefix}layout", "– ours with it against without", "×", against("plain")))
    if "library" in runs:
        count = len(runs["library"][0][1])
        what = f"{most}, {count} rows, transformers' generate_batch: rows"
        lines.append(measurement(f"{prefix}rows-library", what, "rows/s", rows["library"]))
        lines.append(measurement(f"{prefix}library", "– ours against it", "×", against("library")))
    return lines


def agreement(runs: Runs, alone: Sequence[Completion], gaps: Sequence[float]) -> list[dict]:
    """How many answers differ between arithmetics, from the published loop's, and of the first rows from each alone."""
    first = {name: repetitions[0][1] for name, repetitions in runs.items()}
    ours, lines = first["ours"], []

    def count(name: str, what: str, one: Sequence[Completion], other: Sequence[Completion]) -> None:
        spread = Spread((float(len(differing(one, other))),))
        lines.append(measurement(name, f"answers that differ {what}, of {len(other)}", "rows", spread))

    if "float32" in first:
        count("differ-float32", "between ours in float32 and in the hardware's arithmetic", ours, first["float32"])
        count(
            "differ-published", "between ours in float32 and the published loop", first["float32"], first["published"]
        )
    else:
        count("differ-published", "from the published loop's", ours, first["published"])
    count("differ-alone", "from the row's alone", ours[: len(alone)], alone)
    what = "– the largest gap between the logits of the two tokens at which such answers part"
    return [*lines, measurement("gap", what, "", Spread((max(gaps),)) if gaps else None)]


def arithmetic(published: LoadedModel, loaded: LoadedModel) -> str:
    """In which dtypes the two compute, and what the processor has for it."""
    dtypes = [str(each.model.dtype).removeprefix("torch.") for each in (published, loaded)]
    has = "has native bfloat16" if native_bfloat16() else "has no native bfloat16"
    processor = "" if loaded.model.device.type == "cuda" else f"; this CPU {has}"
    return f"published loop {dtypes[0]}, ours {dtypes[1]}{processor}"


def notes(
    published: LoadedModel, loaded: LoadedModel, options: argparse.Namespace, prompts: Sequence[list[int]]
) -> list[str]:
    """What a reader must know beside the table."""
    lengths = [len(prompt) for prompt in prompts]
    return [
        f"Model {loaded.id} {loaded.revision}, {arithmetic(published, loaded)}; {len(prompts)} prompts of "
        f"{min(lengths)} to {max(lengths)} tokens, {options.batch_size} rows at a time; once up to {PUBLISHED_LIMIT} "
        f"new tokens, on {options.long_rows} rows. The published loop takes batches of {published_generation.BATCH} in "
        "the data's order, padded on the left, each until its longest answer has ended; it is greedy here, the study's "
        "sampled. Ours sorts rows by length, lets ended rows leave and waiting ones join, reads once what all prompts "
        "begin with, and on a CPU lays the weights out for its products once; all of that is in its time.",
        "Answers part where two tokens are nearly as likely: sums in another order round differently.",
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.generation", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="a hub id, a folder, or tiny-random-qwen3 for a look")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--alone", type=int, default=20, help="rows that are answered once more, one at a time")
    parser.add_argument(
        "--long-rows", type=int, default=32, help="rows answered as long as the study let them; 0: none"
    )
    parser.add_argument("--max-new-tokens", type=int, default=resolve("cpu").max_new_tokens)
    parser.add_argument("--batch-size", type=int, default=resolve("cpu").eval_batch_size)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--paged-rows", type=int, default=8, help="rows for transformers' own batching; 0: none")
    parser.add_argument("--generate-batch", action="store_true", help="transformers' own takes turns, on all rows")
    parser.add_argument("--group", type=int, default=8, help="samples of each of as many prompts, as GRPO has; 0: none")
    parser.add_argument("--out", type=out_file, help="where the record goes, instead of results/bench")
    options = parser.parse_args()
    counts = options.long_rows, options.paged_rows, options.group
    if not 1 <= options.alone <= options.rows or options.repetitions < 1 or not min(counts) >= 0:
        raise UserError(
            "give at least 1 repetition, --alone from 1 to --rows, and --long-rows, --paged-rows and --group from 0"
        )
    options.long_rows = min(options.long_rows, options.rows)
    return options


def models(name: str) -> tuple[LoadedModel, LoadedModel]:
    """The published loop's model and ours: on a CPU without native bfloat16, and on a GPU, the same."""
    if torch.cuda.is_available():
        loaded = load_model(name, precision=resolve("auto").precision)
        return loaded, loaded
    published = load_model(name, precision="float32")
    return published, load_model(name, precision="bfloat16") if native_bfloat16() else published


def main() -> None:
    options = arguments()
    published, loaded = models(options.model)
    examples = load_examples("embedded", "test", limit=options.rows)
    prompts = [prompt_ids(example, loaded.tokenizer) for example in examples]
    device, limit, batch_size = loaded.model.device.type, options.max_new_tokens, options.batch_size

    def ways(rows: int, max_new_tokens: int) -> dict[str, Recipe]:
        sizes = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
        return recipes(published, loaded, prompts[:rows], **sizes)

    def some(ways: dict[str, Recipe], *names: str) -> dict[str, Recipe]:
        return {name: ways[name] for name in names if name in ways}

    names = ["published", "float32", "ours", *(["library"] if options.generate_batch else [])]
    for way in some(ways(4, 2), *names).values():
        way()  # warm-up
    runs = in_turns(some(ways(len(prompts), limit), *names), options.repetitions)
    if device == "cpu" and available():
        runs |= in_turns(some(ways(len(prompts), limit), "plain"), 1)
    lines = rates(runs, limit=limit, prefix="", goal=target(device, is_long=False))
    if options.long_rows:
        long = in_turns(some(ways(options.long_rows, PUBLISHED_LIMIT), *names[:3]), 1)
        lines += rates(long, limit=PUBLISHED_LIMIT, prefix="long-", goal=target(device, is_long=True))
    if options.paged_rows and not options.generate_batch:
        few = in_turns(some(ways(options.paged_rows, limit), "ours", "library"), 1)
        lines += rates(few, limit=limit, prefix="", goal=None)
    if options.group:
        lines += generation_groups.measure(loaded, prompts[: options.group], options.group, limit, batch_size)
    alone = [complete(loaded, [prompt], max_new_tokens=limit)[0] for prompt in prompts[: options.alone]]
    ours = runs["ours"][0][1]
    gaps = [gap(loaded, prompts[i], ours[i], alone[i]) for i in differing(ours[: options.alone], alone)]
    lines += agreement(runs, alone, gaps)
    print("\n".join(map(show, lines)))
    data = {
        "source": "embedded",
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "arithmetic": arithmetic(published, loaded),
        "rows": len(prompts),
        "prompt_tokens": sum(map(len, prompts)),
        "new_tokens": sum(answer.new_tokens for answer in ours),
        "max_new_tokens": limit,
        "batch_size": batch_size,
    }
    entry = record("generation", lines, packages=PACKAGES, data=data, notes=notes(published, loaded, options, prompts))
    print(f"record: {os.path.relpath(write(entry, options.out))}")


if __name__ == "__main__":
    run_cli(main)
