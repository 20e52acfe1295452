"""How fast answers are generated: the published loop against `common.generation`, in one run, on the same rows.

Both answer greedily with the same model; they take turns, so that a machine that slows down slows both. The first rows
are answered once more one at a time: where an answer differs from the batch's, the gap between the logits of the two
tokens at which they part is told. Once, on fewer rows, both may answer as long as the study let them. Loading and
scoring are in no rate.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from bench import published_generation
from bench.measure import Ratio, Spread, measurement, record, show, timed, write
from common.data import load_examples
from common.generation import Completion, complete
from common.models import LoadedModel, load_model
from common.profiles import EMBEDDED_MODEL, resolve
from common.prompts import prompt_ids
from common.settings import UserError, run_cli

PACKAGES = ("torch", "transformers", "peft", "tokenizers")
FASTER = {"cpu": 2.5, "cuda": 8}  # the targets, times
PUBLISHED_LIMIT = 512  # new tokens
Runs = dict[str, list[tuple[float, list[Completion]]]]  # published, ours → seconds and answers of each repetition


def in_turns(
    loaded: LoadedModel, prompts: Sequence[list[int]], *, max_new_tokens: int, places: int, repetitions: int
) -> Runs:
    """Both ways on the same prompts; who goes first changes."""

    def published() -> list[Completion]:
        return published_generation.complete(loaded, prompts, max_new_tokens=max_new_tokens)

    def ours() -> list[Completion]:
        return complete(loaded, prompts, max_new_tokens=max_new_tokens, places=places)

    recipes = [("published", published), ("ours", ours)]
    complete(loaded, prompts[:4], max_new_tokens=2)  # warm-up
    published_generation.complete(loaded, prompts[:4], max_new_tokens=2)
    found: Runs = {"published": [], "ours": []}
    for number in range(repetitions):
        for name, action in recipes if number % 2 == 0 else recipes[::-1]:
            found[name].append(timed(action))
            print(f"{number + 1}/{repetitions} {name}: {found[name][-1][0]:.1f} s", flush=True)
    return found


@torch.inference_mode()
def gap(loaded: LoadedModel, prompt: list[int], one: Completion, other: Completion) -> float:
    """The difference between the logits of the two tokens at which two answers part, read in one pass."""
    first, second = (_tokens(loaded, answer) for answer in (one, other))
    at = len(os.path.commonprefix([first, second]))
    logits = loaded.model(torch.tensor([prompt + first[:at]], device=loaded.model.device)).logits[0, -1]
    ranked = logits.topk(2).values
    return (ranked[0] - ranked[1]).item()


def _tokens(loaded: LoadedModel, answer: Completion) -> list[int]:
    return loaded.tokenizer(answer.text, add_special_tokens=False)["input_ids"]


def differing(one: Sequence[Completion], other: Sequence[Completion]) -> list[int]:
    """The numbers of the rows whose answers differ."""
    return [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def rates(found: Runs, *, limit: int, prefix: str, device: str) -> list[dict]:
    """Rows and tokens a second, and their ratio. limit: the most new tokens."""
    rows, tokens = {}, {}
    for name, runs in found.items():
        rows[name] = Spread(tuple(len(answers) / seconds for seconds, answers in runs))
        tokens[name] = Spread(tuple(sum(a.new_tokens for a in answers) / seconds for seconds, answers in runs))
    ratio, target = Ratio(rows["ours"], rows["published"]), {"at_least": FASTER[device]}
    most = f"at most {limit} new tokens"
    return [
        measurement(f"{prefix}rows-published", f"{most}, published loop: rows", "rows/s", rows["published"]),
        measurement(f"{prefix}rows", f"{most}, ours: rows", "rows/s", rows["ours"]),
        measurement(f"{prefix}speedup", "– against the published loop", "×", ratio, target),
        measurement(f"{prefix}tokens-published", "published loop: tokens of answers", "tokens/s", tokens["published"]),
        measurement(f"{prefix}tokens", "ours: tokens of answers", "tokens/s", tokens["ours"]),
    ]


def agreement(found: Runs, alone: Sequence[Completion], gaps: Sequence[float]) -> list[dict]:
    """How many answers differ from the published loop's, and of the first rows from those of each alone."""
    theirs, ours = found["published"][0][1], found["ours"][0][1]

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


def notes(loaded: LoadedModel, given: argparse.Namespace, prompts: Sequence[list[int]]) -> list[str]:
    """What a reader must know beside the table."""
    lengths = [len(prompt) for prompt in prompts]
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    return [
        f"Model {loaded.id} {loaded.revision}, {dtype}, {len(prompts)} prompts of {min(lengths)} to {max(lengths)} "
        f"tokens, {given.places} rows at a time; once up to {PUBLISHED_LIMIT} new tokens, on {given.long_rows} rows. "
        f"The published loop takes batches of {published_generation.BATCH} in the data's order, padded on the left, "
        "each until its longest answer has ended; it is greedy here, the study's sampled. Ours sorts rows by length, "
        "lets ended rows leave and waiting ones join, reads once what all prompts begin with, and on a CPU lays the "
        "weights out for its products once; all of that is in its time.",
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
    parser.add_argument("--places", type=int, default=resolve("cpu").eval_batch_size)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the record goes, instead of results/bench")
    given = parser.parse_args()
    if not 1 <= given.alone <= given.rows or given.repetitions < 1 or not 0 <= given.long_rows <= given.rows:
        raise UserError("give at least 1 repetition, --alone from 1 to --rows and --long-rows from 0 to --rows")
    loaded = load_model(given.model, precision=resolve("auto").precision if torch.cuda.is_available() else "float32")
    prompts = [prompt_ids(example, loaded.tokenizer) for example in load_examples("embedded", "test", limit=given.rows)]
    device, limit, places = loaded.model.device.type, given.max_new_tokens, given.places
    found = in_turns(loaded, prompts, max_new_tokens=limit, places=places, repetitions=given.repetitions)
    made_lines = rates(found, limit=limit, prefix="", device=device)
    if given.long_rows:
        long = in_turns(
            loaded, prompts[: given.long_rows], max_new_tokens=PUBLISHED_LIMIT, places=places, repetitions=1
        )
        made_lines += rates(long, limit=PUBLISHED_LIMIT, prefix="long-", device=device)
    alone = [complete(loaded, [prompt], max_new_tokens=limit)[0] for prompt in prompts[: given.alone]]
    ours = found["ours"][0][1]
    gaps = [gap(loaded, prompts[i], ours[i], alone[i]) for i in differing(ours[: given.alone], alone)]
    made_lines += agreement(found, alone, gaps)
    print("\n".join(map(show, made_lines)))
    data = {
        "source": "embedded",
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "rows": len(prompts),
        "prompt_tokens": sum(map(len, prompts)),
        "new_tokens": sum(answer.new_tokens for answer in ours),
        "max_new_tokens": limit,
        "places": places,
    }
    made = record("generation", made_lines, packages=PACKAGES, data=data, notes=notes(loaded, given, prompts))
    print(f"record: {os.path.relpath(write(made, given.out))}")


if __name__ == "__main__":
    run_cli(main)
