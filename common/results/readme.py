"""The pages' generated blocks, made from committed files alone.

A block stands between `<!-- results:NAME:begin -->` and `<!-- results:NAME:end -->`. In PAGES, NAME is a key of BLOCKS,
or a profile for its runs; without a name (`results:begin`) it is every published profile's runs. What a
bench has measured stands in bench/README.md; `bench.readme` makes that.
"""

import re
from collections.abc import Callable
from pathlib import Path

from common.results import audits, catalogue, findings, ledger, published, tables, transfer
from common.results.evaluators import report
from common.settings import ROOT, UserError, replace_text, results, writing

_BLOCK = re.compile(
    r"(<!-- results:(?:(?P<name>[\w-]+):)?begin -->\n)(.*?)(<!-- results:(?(name)(?P=name):)end -->)", re.DOTALL
)
SCRATCH = "smoke"  # its records come from random weights and are never published
PAGES = ("README.md", "docs/metric.md", "docs/notebooks.md", "docs/published-study.md")


def _findings() -> str:
    texts = [findings.markdown(ledger.folder(profile), headlines=True) for profile in profiles()]
    return "\n".join(filter(None, texts)) or "No two runs are recorded yet; `make notebooks` does it."


# Blocks that are no profile's runs: a name, and what gives its Markdown.
BLOCKS: dict[str, Callable[[], str]] = {
    "audit": audits.markdown,
    "findings": _findings,
    "notebooks": catalogue.markdown,
    "published": published.markdown,
}


def block(name: str | None = None) -> str:
    """What stands between the markers of a page: the block of that name, or every published profile's runs.

    Raises UserError for a name that is neither in BLOCKS nor a profile with records.
    """
    if name in BLOCKS:
        return BLOCKS[name]()
    if name and name not in profiles():
        raise UserError(f"a page asks for the results of '{name}', which has no records; run it or drop the block")
    texts = [_profile_block(profile) for profile in ([name] if name else profiles())]
    return "\n\n".join(texts) or "No run is recorded yet; `make notebooks` does it."


def profiles() -> list[str]:
    """The published profiles that have records."""
    return list(dict.fromkeys(path.parent.name for path in ledger.record_paths() if path.parent.name != SCRATCH))


def _profile_block(profile: str) -> str:
    place = ledger.folder(profile)
    text, figure = tables.short(place), place / "comparison.png"
    if figure.exists() and figure.is_relative_to(ROOT):
        more = figure.with_suffix(".md").relative_to(ROOT)
        text += f" All columns, pairs and slices: [{more}]({more}).\n\n"
        text += f"![Robust match of each method at profile {profile}]({figure.relative_to(ROOT)})"
    return text


def with_blocks(text: str, make: Callable[[str | None], str] = block) -> str:
    """A README's text with every block made anew; make: the Markdown of a block's name."""
    return _BLOCK.sub(lambda match: f"{match[1]}{make(match['name'])}\n{match[4]}", text)


def follow(profile: str) -> None:
    """Update the README and evaluators.md after a run, where they show its records: all go together or `make check` is
    red."""
    if results() == ROOT / "results" and profile != SCRATCH:
        update()
        report.follow(ledger.folder(profile))
        transfer.follow(ledger.folder(profile))


def update(
    path: Path | None = None,
    make: Callable[[str | None], str] = block,
    *,
    check: bool = False,
    command: str = "python -m common.results readme",
) -> int:
    """Write a page's blocks; with `check` only say whether they differ. Returns the exit code: 1 where they do.

    path: of one page; None for all of PAGES that are there, the README at least. command: what a reader calls to write
    it. Raises UserError without a page or a block.
    """
    if path is None:
        there = [page for page in PAGES if page == PAGES[0] or (ROOT / page).exists()]
        return max(update(ROOT / page, make, check=check, command=command) for page in there)
    name = path.relative_to(ROOT).as_posix()
    if not path.exists() or not _BLOCK.search(text := path.read_text(encoding="utf-8")):
        raise UserError(
            f"{name} is missing or has no line '<!-- results:begin -->' with '<!-- results:end -->' below it"
        )
    new = with_blocks(text, make)
    if text == new:
        print(f"{name} agrees with the records")
    elif check:
        print(f"{name} differs from the records; `{command}` writes it anew")
        return 1
    else:
        with writing(path):
            replace_text(path, new)
        print(f"{name}: results written from the records")
    return 0
