"""`python -m bench.readme`: the tables of bench/README.md, made from the bench records; `--check` only compares.

A block stands between `<!-- results:NAME:begin -->` and `<!-- results:NAME:end -->`, NAME being a key of BLOCKS.
"""

import argparse
from collections.abc import Callable
from functools import partial

from bench import gpu_lines, tables
from common.results import readme
from common.settings import ROOT, UserError, run_cli

PATH = ROOT / "bench" / "README.md"
BLOCKS: dict[str, Callable[[], str]] = {
    "ratios": tables.ratios,
    "curves": partial(tables.markdown, "curves"),
    "generation": partial(tables.markdown, "generation"),
    "grpo": partial(tables.markdown, "grpo"),
    "layouts": partial(tables.markdown, "layouts"),
    "preferences": partial(tables.markdown, "preferences"),
    "robust": partial(tables.markdown, "robust"),
    "scoring": partial(tables.markdown, "scoring"),
    "training": partial(tables.markdown, "training"),
    "training-coder": partial(tables.markdown, "training-qwen2.5-coder-0.5b-instruct"),
    "gpu": gpu_lines.markdown,
}


def block(name: str | None) -> str:
    """The Markdown of a block. Raises UserError for a name that is none."""
    if name not in BLOCKS:
        raise UserError(f"bench/README.md asks for the block '{name}'; there are {', '.join(BLOCKS)}")
    return BLOCKS[name]()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 where they differ")
    arguments = parser.parse_args()
    if not arguments.check:
        print(tables.ratios())
    return readme.update(PATH, block, check=arguments.check, command="python -m bench.readme")


if __name__ == "__main__":
    run_cli(main)
