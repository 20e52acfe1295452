"""Pairs on disk: one parquet file a policy, with a data card beside it, for preference training and the reward model.

A row holds the prompt as messages, both answers and what certified them, so that other tools can train on the file too.
Rows of one schema are in one split, and none is a validation or test row of the study: `check` refuses such a file.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from common.data import Example
from common.data.splits import bucket
from common.preferences.pairs import Pair
from common.prompts import messages
from common.settings import UserError, replace_text, writable, writing

if TYPE_CHECKING:
    import pandas

COLUMNS = ("id", "split", "prompt", "chosen", "rejected", "chosen_source", "rejected_source", "rejected_origin")
COLUMNS += ("error", "question", "schema", "reference", "complexity", "task_type", "domain")
VALIDATION = 0.15  # of the schemas
FEW_SCHEMAS = 20


def splits_of(pairs: Sequence[Pair], *, seed: int = 42) -> list[str]:
    """train or validation for each pair, by its schema, so that those of one are in one split; by its question where
    there are fewer than FEW_SCHEMAS."""
    few = len({pair.example.schema for pair in pairs}) < FEW_SCHEMAS
    keys = [pair.example.question if few else pair.example.schema for pair in pairs]
    return ["validation" if bucket(f"pairs:{seed}:{key}") < VALIDATION else "train" for key in keys]


def split_pairs(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs to validate on, in their order, by `splits_of`."""
    splits = splits_of(pairs)
    train, valid = (
        [pair for pair, part in zip(pairs, splits, strict=True) if part == split] for split in ("train", "validation")
    )
    return train, valid


def check(pairs: Iterable[Pair], others: Iterable[Example]) -> None:
    """Raises UserError where a pair's question, or its schema with its reference, is that of one of `others`."""
    questions, references = set(), set()
    for example in others:
        questions.add((example.question, example.schema))
        references.add((example.schema, example.sql))
    for pair in pairs:
        example = pair.example
        if (example.question, example.schema) in questions or (example.schema, example.sql) in references:
            raise UserError(f"the pair of {example.id} is of a row that is validated or tested on; leave it out")


def write(path: Path, pairs: Sequence[Pair], card: str, *, questions: Sequence[str] = ()) -> Path:
    """The parquet file, whole or not at all, and its card as `<name>.md`. questions: the ids of all that pairs were
    looked for in, those without a pair too. Raises UserError where the disk refuses."""
    import pandas

    rows = [_row(pair) | {"split": split} for pair, split in zip(pairs, splits_of(pairs), strict=True)]
    frame = pandas.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {"questions": list(questions)}  # which pandas keeps in the file
    partial = writable(path.parent) / f".{path.name}.partial"
    try:
        with writing(path):
            frame.to_parquet(partial, index=False)
            replace_text(path.with_suffix(".md"), card)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read(path: Path, split: str = "", *, limit: int | None = None) -> list[Pair]:
    """The pairs of a split, "" for all, in the file's order. Raises UserError for what is no such file."""
    frame = _frame(path)
    rows = frame[frame["split"] == split] if split else frame
    return [_pair(row) for row in rows.head(len(rows) if limit is None else limit).to_dict("records")]


def questions_of(path: Path) -> set[str]:
    """The ids of all questions that the file's pairs were looked for in. Raises UserError as `read`."""
    frame = _frame(path)
    return set(frame.attrs.get("questions", ())) | set(frame["id"])


def _frame(path: Path) -> "pandas.DataFrame":
    import pandas

    try:
        frame = pandas.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"there are no pairs in {path}; execute grpo/reward_model/rm_data_generation.ipynb") from None
    except Exception as error:  # pyarrow has its own for each kind of damage
        raise UserError(f"{path} is no parquet file of pairs ({type(error).__name__}); make it anew") from None
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise UserError(f"{path} has no column '{missing[0]}'; it is no file of pairs")
    return frame


def card(
    pairs: Sequence[Pair], drops: Counter, *, policy: str, source: str, revision: str, databases: int, model: str
) -> str:
    """What a reader of the file has to know, as Markdown."""
    splits = Counter(splits_of(pairs))
    lengths = [mean(map(len, side)) for side in zip(*((pair.chosen, pair.rejected) for pair in pairs), strict=True)]
    return "\n".join(
        [
            "---",
            *(["license: apache-2.0"] if _is_free(source) else []),
            "task_categories: [text-generation]",
            "tags: [text-to-sql, preference]",
            "---",
            f"# Preference pairs of the policy `{policy}`",
            "",
            f"{len(pairs)} pairs of {len({pair.example.id for pair in pairs})} questions: {splits['train']} to train "
            f"on, {splits['validation']} to validate on, parted by schema. Questions, schemas and references are rows "
            f"of the split `post` of `{_name(source)}` (revision {revision}), which supervised fine-tuning never "
            "sees.",
            "",
            f"Wrong and right answers come from samples of {_name(model)}, from near misses of the references and, "
            "with a key, from large models behind Groq. Each pair was executed: the chosen answer matches the "
            f"reference on the given and on {databases} generated databases, the rejected one not even on the given "
            "one. An answer that agrees on the given database alone is left out. The generated databases are not those "
            "of the evaluation.",
            "",
            f"Mean length in characters: chosen {lengths[0]:.0f}, rejected {lengths[1]:.0f}.",
            "",
            *_table("Rejected answers by source", Counter(pair.rejected_source for pair in pairs)),
            *_table("Chosen answers by source", Counter(pair.chosen_source for pair in pairs)),
            *_table("Errors", Counter(pair.error for pair in pairs)),
            *_table("Complexities", Counter(pair.example.complexity or "unknown" for pair in pairs)),
            *_table("Left out", Counter({_words(reason): count for reason, count in drops.items() if count})),
        ]
    )


def _is_free(source: str) -> bool:
    """Whether the rows are under the licence of this repository, as the embedded ones and gretel's are."""
    return source.partition("@")[0] in ("embedded", "gretel")


def _name(text: str) -> str:
    """What a source or a model is called, without any folder."""
    kind, _, path = text.rpartition(":")
    return kind or (Path(path).name if Path(path).is_absolute() else path)


def _words(reason: object) -> str:
    return ": ".join(reason) if isinstance(reason, tuple) else str(reason)


def _table(title: str, counts: Counter) -> list[str]:
    lines = [f"| {name} | {count:,} |" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return [f"| {title} | number |", "|---|--:|", *lines, ""]


def _row(pair: Pair) -> dict:
    example = pair.example
    return {
        "id": example.id,
        "prompt": messages(example),
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "chosen_source": pair.chosen_source,
        "rejected_source": pair.rejected_source,
        "rejected_origin": pair.rejected_origin,
        "error": pair.error,
        "question": example.question,
        "schema": example.schema,
        "reference": example.sql,
        "complexity": example.complexity,
        "task_type": example.task_type,
        "domain": example.domain,
    }


def _pair(row: dict) -> Pair:
    example = Example(
        id=row["id"],
        question=row["question"],
        schema=row["schema"],
        sql=row["reference"],
        domain=row["domain"],
        complexity=row["complexity"],
        task_type=row["task_type"],
    )
    names = ("chosen", "rejected", "chosen_source", "rejected_source", "rejected_origin", "error")
    return Pair(example, *(row[name] for name in names))
