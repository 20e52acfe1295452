"""How fast answers are generated: the published loop against `common.generation`, in one run, on the same rows.

Both answer greedily with the same model; they take turns, so that a machine that slows down slows both. On a CPU ours
takes a turn without oneDNN's layout of the weights, too, and on request the library's own continuous batching takes
one. The first rows are answered once more one at a time: where an answer differs from the batch's, the gap between the
logits of the two tokens at which they part is reported. Once, on fewer rows, both may answer as long as the study let
them. Loading and scoring are in no rate.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch

from bench import library_generation, published_generation
from bench.measure import Ratio, Spread, measurement, record, show, timed, write
from common.data import load_examples
from common.generation import Completion, complete
from common.generation.onednn import available
from common.models import LoadedModel, load_model
from common.profiles import EMBEDDED_MODEL, resolve
from common.prompts import prompt_ids
from common.settings import UserError, run_cli

PACKAGES = ("torch", "transformers", "peft", "tokenizers")
FASTER = {"cpu": 2.5, "cuda": 8}  # the targets, times
PUBLISHED_LIMIT = 512  # new tokens
Recipe = Callable[[], list[Completion]]
Runs = dict[str, list[tuple[float, list[Completion]]]]  # recipe → seconds and answers of each repetition


def recipes(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    plain: bool = False,
    library: bool = False,
) -> dict[str, Recipe]:
    """Ways of answering the prompts, by name. plain: ours without oneDNN's layout, too; library: transformers' own."""

    def ours() -> list[Completion]:
        return complete(loaded, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)

    def without_layout() -> list[Completion]:
        with mock.patch("common.generation.answers.laid_out", nullcontext):  # no switch in the product for this alone
            return ours()

    ways: dict[str, Recipe] = {
        "published": lambda: published_generation.complete(loaded, prompts, max_new_tokens=max_new_tokens),
        "ours": ours,
    }
    if plain:
        ways["plain"] = without_layout
    if library:
        ways["library"] = lambda: library_generation.complete(loaded, prompts, max_new_tokens=max_new_tokens)
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


def rates(runs: Runs, *, limit: int, prefix: str, device: str) -> list[dict]:
    """Rows and tokens a second, and their ratio. limit: the most new tokens."""
    rows, tokens = {}, {}
    for name, repetitions in runs.items():
        rows[name] = Spread(tuple(len(answers) / seconds for seconds, answers in repetitions))
        tokens[name] = Spread(tuple(sum(a.new_tokens for a in answers) / seconds for seconds, answers in repetitions))
    target, most = {"at_least": FASTER[device]}, f"at most {limit} new tokens"

    def against(name: str) -> Ratio:
        return Ratio(rows["ours"], rows[name])

    lines = [
        measurement(f"{prefix}rows-published", f"{most}, published loop: rows", "rows/s", rows["published"]),
        measurement(f"{prefix}rows", f"{most}, ours: rows", "rows/s", rows["ours"]),
        measurement(f"{prefix}speedup", "– against the published loop", "×", against("published"), target),
        measurement(f"{prefix}tokens-published", "published loop: tokens of answers", "tokens/s", tokens["published"]),
        measurement(f"{prefix}tokens", "ours: tokens of answers", "tokens/s", tokens["ours"]),
    ]
    if "plain" in runs:
        what = f"{most}, ours without oneDNN's layout of weights: rows"
        lines.append(measurement(f"{prefix}rows-plain", what, "rows/s", rows["plain"]))
        lines.append(measurement(f"{prefix}layout", "– ours with it against without", "×", against("plain")))
    if "library" in runs:
        what = f"{most}, transformers' generate_batch: rows"
        lines.append(measurement(f"{prefix}rows-library", what, "rows/s", rows["library"]))
        lines.append(measurement(f"{prefix}library", "– ours against it", "×", against("library")))
    return lines


def agreement(runs: Runs, alone: Sequence[Completion], gaps: Sequence[float]) -> list[dict]:
    """How many answers differ from the published loop's, and of the first rows from those of each alone."""
    theirs, ours = runs["published"][0][1], runs["ours"][0][1]

    def count(one: Sequence[Completion], other: Sequence[Completion]) -> Spread:
        return Spread((float(len(differing(one, other))),))

    return [
        measurement(
            "differ-published",
            f"answers that differ from the published loop's, of {len(ours)}",
            "rows",
            count(ours, theirs),
        ),
        measurement(
            "differ-alone",
            f"answers that differ from the row's alone, of {len(alone)}",
            "rows",
            count(ours[: len(alone)], alone),
        ),
        measurement(
            "gap",
            "– the largest gap between the logits of the two tokens at which such answers part",
            "",
            Spread((max(gaps),)) if gaps else None,
        ),
    ]


def notes(loaded: LoadedModel, options: argparse.Namespace, prompts: Sequence[list[int]]) -> list[str]:
    """What a reader must know beside the table."""
    lengths = [len(prompt) for prompt in prompts]
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    return [
        f"Model {loaded.id} {loaded.revision}, {dtype}, {len(prompts)} prompts of {min(lengths)} to {max(lengths)} "
        f"tokens, {options.batch_size} rows at a time; once up to {PUBLISHED_LIMIT} new tokens, on {options.long_rows} "
        f"rows. The published loop takes batches of {published_generation.BATCH} in the data's order, padded on the "
        "left, each until its longest answer has ended; it is greedy here, the study's sampled. Ours sorts rows by "
        "length, lets ended rows leave and waiting ones join, reads once what all prompts begin with, and on a CPU "
        "lays the weights out for its products once; all of that is in its time.",
        "Answers part where two tokens are nearly as likely: sums in another order round differently.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.generation", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="a hub id, a folder, or tiny-random-qwen3 for a look")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--alone", type=int, default=50, help="rows that are answered once more, one at a time")
    parser.add_argument(
        "--long-rows", type=int, default=64, help="rows answered as long as the study let them; 0: none"
    )
    parser.add_argument("--max-new-tokens", type=int, default=resolve("cpu").max_new_tokens)
    parser.add_argument("--batch-size", type=int, default=resolve("cpu").eval_batch_size)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--generate-batch", action="store_true", help="time transformers' own continuous batching, too")
    parser.add_argument("--out", type=Path, help="where the record goes, instead of results/bench")
    options = parser.parse_args()
    if not 1 <= options.alone <= options.rows or options.repetitions < 1 or not 0 <= options.long_rows <= options.rows:
        raise UserError("give at least 1 repetition, --alone from 1 to --rows and --long-rows from 0 to --rows")
    loaded = load_model(options.model, precision=resolve("auto").precision if torch.cuda.is_available() else "float32")
    examples = load_examples("embedded", "test", limit=options.rows)
    prompts = [prompt_ids(example, loaded.tokenizer) for example in examples]
    device, limit, batch_size = loaded.model.device.type, options.max_new_tokens, options.batch_size
    also = {"plain": device == "cpu" and available(), "library": options.generate_batch}
    for way in recipes(loaded, prompts[:4], max_new_tokens=2, batch_size=4, **also).values():
        way()  # warm-up
    ways = recipes(loaded, prompts, max_new_tokens=limit, batch_size=batch_size, **also)
    runs = in_turns(ways, options.repetitions)
    lines = rates(runs, limit=limit, prefix="", device=device)
    if options.long_rows:
        ways = recipes(loaded, prompts[: options.long_rows], max_new_tokens=PUBLISHED_LIMIT, batch_size=batch_size)
        lines += rates(in_turns(ways, 1), limit=PUBLISHED_LIMIT, prefix="long-", device=device)
    alone = [complete(loaded, [prompt], max_new_tokens=limit)[0] for prompt in prompts[: options.alone]]
    ours = runs["ours"][0][1]
    gaps = [gap(loaded, prompts[i], ours[i], alone[i]) for i in differing(ours[: options.alone], alone)]
    lines += agreement(runs, alone, gaps)
    print("\n".join(map(show, lines)))
    data = {
        "source": "embedded",
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "rows": len(prompts),
        "prompt_tokens": sum(map(len, prompts)),
        "new_tokens": sum(answer.new_tokens for answer in ours),
        "max_new_tokens": limit,
        "batch_size": batch_size,
    }
    entry = record("generation", lines, packages=PACKAGES, data=data, notes=notes(loaded, options, prompts))
    print(f"record: {os.path.relpath(write(entry, options.out))}")


if __name__ == "__main__":
    run_cli(main)
