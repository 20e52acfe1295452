"""The README's generated blocks, made from the records.

A block stands between `<!-- results:NAME:begin -->` and `<!-- results:NAME:end -->`. NAME is a key of BLOCKS, or a
profile for its runs; without a name (`results:begin`) it is every shown profile's runs.
"""

import re
from collections.abc import Callable
from functools import partial

from common.results import audits, benches, comparison, gpu, ledger
from common.settings import ROOT, UserError, replace_text, results, writing

_BLOCK = re.compile(
    r"(<!-- results:(?:(?P<name>[\w-]+):)?begin -->\n)(.*?)(<!-- results:(?(name)(?P=name):)end -->)", re.DOTALL
)
SCRATCH = "smoke"  # its records come from random weights and are never shown
# Blocks that are no profile's runs: a name, and what gives its Markdown from committed files alone.
BLOCKS: dict[str, Callable[[], str]] = {
    "bench-ratios": benches.ratios,
    "bench-generation": partial(benches.markdown, "generation"),
    "bench-scoring": partial(benches.markdown, "scoring"),
    "bench-training": partial(benches.markdown, "training"),
    "bench-gpu": gpu.markdown,
    "audit": audits.markdown,
}


def block(name: str | None = None) -> str:
    """What stands between a README's markers: the block of that name, or every shown profile's runs.

    Raises UserError for a name that is neither in BLOCKS nor a profile with records.
    """
    if name in BLOCKS:
        return BLOCKS[name]()
    profiles = list(dict.fromkeys(path.parent.name for path in ledger.record_paths() if path.parent.name != SCRATCH))
    if name and name not in profiles:
        raise UserError(f"a README asks for the results of '{name}', which has no records; run it or drop the block")
    shown = [name] if name else profiles
    return "\n\n".join(map(_profile_block, shown)) if shown else "No run is recorded yet; `make run` does it."


def _profile_block(profile: str) -> str:
    figure = ledger.folder(profile) / "comparison.png"
    text = comparison.markdown(profile)
    if figure.exists() and figure.is_relative_to(ROOT):
        text += f"\n\n![Robust match of each method at profile {profile}]({figure.relative_to(ROOT)})"
    return text


def generated(text: str) -> str:
    """A README's text with every results block made anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}{block(found['name'])}\n{found[4]}", text)


def follow(profile: str) -> None:
    """Update the README after a run, where it shows the run's records: the two go together or `make check` is red."""
    if results() == ROOT / "results" and profile != SCRATCH:
        update()


def update(*, check: bool = False) -> int:
    """Write README.md's blocks; with `check` only say whether they differ. Raises UserError without README or block."""
    path = ROOT / "README.md"
    if not path.exists() or not _BLOCK.search(text := path.read_text(encoding="utf-8")):
        raise UserError(
            "README.md is missing or has no line '<!-- results:begin -->' with '<!-- results:end -->' below it"
        )
    wanted = generated(text)
    if text == wanted:
        print("README.md agrees with the records")
    elif check:
        print("README.md differs from the records; `python -m common.results readme` writes it anew")
        return 1
    else:
        with writing(path):
            replace_text(path, wanted)
        print("README.md: results written from the records")
    return 0
