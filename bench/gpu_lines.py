"""The GPU bench's lines and their targets, and the table of them in bench/README.md; `bench/gpu.py` measures.

Where no GPU was measured, the lines with a target stand there as not measured. Knows no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench import tables
from common.settings import results

METHODS = {"full": "FullFT", "lora": "LoRA", "qlora": "QLoRA", "prompt": "prompt tuning"}
TARGET_DEVICE = "H200"
GRPO_DEVICE = "H100"  # that the target of a GRPO step is for; one with more memory has it too
ANSWERED = 5_851  # rows of the published test set


@dataclass(frozen=True)
class Line:
    """One line of the table. A ratio is of two other lines, by name: (over, under).

    target: {"at_least": x} or {"at_most": x}, on one of `devices`; `everywhere`: on any CUDA device.
    """

    name: str
    what: str
    unit: str
    target: dict[str, float] | None = None
    everywhere: bool = False
    ratio: tuple[str, str] | None = None
    devices: tuple[str, ...] = (TARGET_DEVICE,)

    def target_on(self, device: str) -> dict[str, float] | None:
        """The target on a device of that name ("" is a CPU)."""
        is_meant = any(name in device for name in self.devices)
        return self.target if is_meant or (device and self.everywhere) else None


def _training(prefix: str, title: str, rows: float | None) -> Iterator[Line]:
    """The lines of one method, the published recipe's and ours."""
    for key, what, unit, target in (
        ("rows", "rows", "rows/s", {"at_least": rows} if rows else None),
        ("tokens", "tokens, padding excluded", "tokens/s", None),
        ("utilisation", "useful operations, of the card's rate", "%", None),
        ("memory", "peak memory", "GB", None),
    ):
        published, ours = f"{prefix}-{key}-published", f"{prefix}-{key}"
        yield Line(published, f"{title}, published recipe: {what}", unit)
        yield Line(ours, f"{title}, ours: {what}", unit, target)
        if key in ("rows", "memory"):
            yield Line(f"{ours}-ratio", "– against the published recipe", "×", ratio=(ours, published))


def _generation(prefix: str, title: str) -> Iterator[Line]:
    yield Line(f"{prefix}-rows-published", f"{title}, published loop: rows", "rows/s")
    yield Line(f"{prefix}-rows", f"{title}, ours: rows", "rows/s")
    yield Line(
        f"{prefix}-rows-ratio",
        "– against the published loop",
        "×",
        ratio=(f"{prefix}-rows", f"{prefix}-rows-published"),
    )
    yield Line(f"{prefix}-tokens-published", f"{title}, published loop: new tokens", "tokens/s")
    yield Line(f"{prefix}-tokens", f"{title}, ours: new tokens", "tokens/s")
    yield Line(f"{prefix}-memory-published", f"{title}, published loop: peak memory", "GB")
    yield Line(f"{prefix}-memory", f"{title}, ours: peak memory", "GB")


def _library() -> Iterator[Line]:
    """transformers' continuous batching on the same prompts."""
    prefix, title = "generation-library", "answering, transformers' generate_batch"
    yield Line(f"{prefix}-rows", f"{title}: rows", "rows/s")
    ratio = ("generation-rows", f"{prefix}-rows")
    yield Line(f"{prefix}-ratio", "– ours against it", "×", ratio=ratio)
    yield Line(f"{prefix}-tokens", f"{title}: new tokens", "tokens/s")
    yield Line(f"{prefix}-memory", f"{title}: peak memory", "GB")


def _head() -> Iterator[Line]:
    """TRL's fused output head and ours on the same micro-batches."""
    for suffix, title in (("-trl", "TRL's fused head"), ("", "ours, logits at labelled tokens")):
        yield Line(f"head-rows{suffix}", f"FullFT, {title}: rows", "rows/s")
        yield Line(f"head-memory{suffix}", f"FullFT, {title}: peak memory", "GB")
    yield Line("head-ratio", "– rows, ours against TRL's", "×", ratio=("head-rows", "head-rows-trl"))
    yield Line("head-memory-ratio", "– memory, ours against TRL's", "×", ratio=("head-memory", "head-memory-trl"))
    yield Line("head-loss", "loss of a step, ours against TRL's", "%", {"at_most": 1}, everywhere=True)


def _tree() -> Iterator[Line]:
    """Rows that begin alike: TRL's layout and ours."""
    for kind, title, unit in (
        ("sft", "SFT", "rows/s"),
        ("pair", "a DPO pair", "pairs/s"),
        ("group", "a group of 8 completions", "completions/s"),
    ):
        prefix = f"tree-{kind}"
        for suffix, layout in (("-trl", "TRL's layout"), ("", "ours, a tree of prefixes")):
            yield Line(f"{prefix}-rows{suffix}", f"update of {title}, LoRA, {layout}: rate", unit)
            yield Line(f"{prefix}-memory{suffix}", f"update of {title}, LoRA, {layout}: peak memory", "GB")
        ratio, memory = (f"{prefix}-rows", f"{prefix}-rows-trl"), (f"{prefix}-memory", f"{prefix}-memory-trl")
        yield Line(f"{prefix}-ratio", "– rate, ours against TRL's layout", "×", ratio=ratio)
        yield Line(f"{prefix}-memory-ratio", "– memory, ours against TRL's layout", "×", ratio=memory)
        what = f"loss of {title}'s first step, ours against TRL's layout"
        yield Line(f"{prefix}-loss", what, "%", {"at_most": 1}, everywhere=True)


def _grpo() -> Iterator[Line]:
    """A whole step of our training by rewards."""
    title, devices = "a GRPO step, LoRA, ours", (GRPO_DEVICE, TARGET_DEVICE)
    yield Line("grpo-completions", f"{title}: completions", "completions/s", {"at_least": 60}, devices=devices)
    yield Line("grpo-sampling", f"{title}: sampling, of its time", "%")
    yield Line("grpo-reward", f"{title}: reward, of its time", "%")
    yield Line("grpo-memory", f"{title}: peak memory", "GB")


def _lines() -> Iterator[Line]:
    yield Line("products", "matrix products, a large square one", "TFLOP/s")
    yield Line("products-model", "matrix products, the best of the model's shapes", "TFLOP/s")
    yield Line("copy", "copying memory, bytes read and written", "GB/s")
    for method, rows in zip(METHODS, (400, 450, 250, None), strict=True):
        yield from _training(method, METHODS[method], rows)
    yield from _generation("generation", "answering")
    seconds = f"answering {ANSWERED:,} rows, ours"
    yield Line("generation-seconds", seconds, "s", {"at_most": 60})
    yield from _library()
    yield from _head()
    yield from _tree()
    yield from _grpo()
    yield Line(
        "loss",
        "loss by step, ours against plain, largest difference in 100 steps",
        "%",
        {"at_most": 1},
        everywhere=True,
    )
    for method, published in zip(METHODS, (15.8, 10.4, 8.8), strict=False):
        what = f"{METHODS[method]} in float16 with memory capped to 15 GB: peak memory"
        yield Line(f"t4-{method}-memory", what, "GB", {"at_most": published}, everywhere=True)
    yield Line("trainer-loop-rows", "FullFT, ours, on embedded rows: the bench's bare loop", "rows/s")
    yield Line("trainer-rows", "FullFT, ours, on embedded rows: `train_sft`", "rows/s")
    yield Line("trainer-ratio", "– against the bare loop", "×", ratio=("trainer-rows", "trainer-loop-rows"))
    for key, what in (("compile", "layers compiled"), ("liger", "liger-kernel's norms, rotation and MLP")):
        yield Line(f"variants-{key}-rows", f"FullFT, ours, {what}: rows", "rows/s")
        yield Line(f"variants-{key}-memory", f"FullFT, ours, {what}: peak memory", "GB")
    for method in ("full", "lora"):
        yield from _training(f"smollm2-{method}", f"SmolLM2-135M, {METHODS[method]}", None)
    yield from _generation("smollm2-generation", "SmolLM2-135M, answering")


LINES = tuple(_lines())


def markdown() -> str:
    """A table for each CUDA device that was measured; without any, what is to be measured and its target."""
    names = sorted(path.stem for path in (results() / tables.FOLDER).glob("gpu-*.json") if path.stem != "gpu-cpu")
    if names:
        return "\n\n".join(map(tables.markdown, names))
    empty = dict.fromkeys(("value", "low", "high", "met"))
    lines = [
        {"what": line.what, "unit": line.unit, "repetitions": 0, "target": line.target, **empty}
        for line in LINES
        if line.target
    ]
    text = (
        f"Not measured: no CUDA device was at hand. `python -m bench.gpu` does it on any; these are its lines that "
        f"have a target, for one {TARGET_DEVICE}; that of a GRPO step is for one {GRPO_DEVICE}."
    )
    return "\n\n".join([text, tables.table(lines)])
