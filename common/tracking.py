"""Runs in Weights & Biases: offline without a key, never in the way. Records in results/ do not depend on it.

No system metrics, no code, no git, no host: what is logged is what the study reports. `wandb sync` sends what was
written offline, from this machine: the client names a table's file by its place here.
"""

import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from common.settings import key, outputs

if TYPE_CHECKING:
    import pandas

# Sections of a record that are a run's configuration.
_CONFIG = (
    "notebook",
    "profile",
    "seed",
    "parameters",
    "data",
    "base",
    "model",
    "code",
    "scoring",
    "decoding",
    "search",
)
_PLACE = "WANDB_DATA_DIR"
_FAILURES: list[str] = []  # the first one; after it this process tries no more, since each try may take a time-out


def log_record(
    path: Path, *, digest: str, group: str, curve: Sequence[dict], tables: "Mapping[str, pandas.DataFrame]"
) -> None:
    """Log the run whose record lies at `path`, beside the trials of its search where `group` is that search's id.

    The record itself goes along as a file. digest: of what the run is made from; the same run has the same id.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    method = record["method"]
    log_run(
        f"{method}-{record['profile']}-{digest}",
        name=method,
        group=group or method,
        config={section: record[section] for section in _CONFIG if section in record},
        curve=curve,
        summary=record["facts"] if "facts" in record else _values(record["metrics"]),
        tables=tables,
        files=[path],
    )


def _values(metrics: Mapping[str, dict]) -> dict:
    return {name: metric["value"] for name, metric in metrics.items()}


def log_run(
    run_id: str,
    *,
    name: str,
    group: str,
    config: dict,
    curve: Sequence[dict],
    summary: dict,
    tables: "Mapping[str, pandas.DataFrame] | None" = None,
    files: Sequence[Path] = (),
) -> None:
    """Log one finished run: its config, its curve by step, its last figures, its tables, and copies of its files.

    A failure of Weights & Biases is one line on stderr, and the end of logging here.
    """
    if os.environ.get("WANDB_MODE") == "disabled" or _FAILURES:
        return
    with _unobtrusive(name), _staging():
        import wandb

        run = _start(run_id, name, group, config)
        try:
            for step, metrics in sorted(_by_step(curve).items()):
                run.log(metrics, step=step)
            if tables:
                flat = {name: _flat(table) for name, table in tables.items()}
                run.log({name: wandb.Table(dataframe=table, allow_mixed_types=True) for name, table in flat.items()})
            for file in files:  # a copy: a link would not go along to the machine that sends it
                run.save(shutil.copyfile(file, Path(run.dir) / file.name), base_path=run.dir, policy="now")
            run.summary.update({name: value for name, value in summary.items() if _is_number(value)})
        finally:
            run.finish()


@contextmanager
def _unobtrusive(name: str) -> Iterator[None]:
    """What goes wrong in logging the run `name` is one line, and the last of it."""
    try:
        yield
    except Exception as error:  # the client raises its own, the service's, and the network's
        _FAILURES.append(type(error).__name__)
        tqdm.write(  # not into the line of a progress bar
            f"warning: Weights & Biases could not log {name} ({type(error).__name__}); the work goes on without it, "
            "set WANDB_MODE=offline to keep runs on disk",
            file=sys.stderr,
        )


def _start(run_id: str, name: str, group: str, config: dict) -> Any:
    """A run of the client, online where there is a key and nothing says otherwise."""
    import wandb

    secret = key("WANDB_API_KEY")
    online = bool(secret) and os.environ.get("WANDB_MODE", "online") == "online"
    settings = wandb.Settings(
        mode="online" if online else "offline",
        api_key=secret if online else None,
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        host="worker",
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        init_timeout=30,
        finish_timeout=60,
    )
    return wandb.init(
        project=key("WANDB_PROJECT") or "text-to-sql",
        dir=outputs(),  # the client adds wandb/ itself
        id=run_id,
        name=name,
        group=group,
        config=config,
        reinit="create_new",  # beside a run that the user has open
        resume="allow" if online else None,
        settings=settings,
    )


@contextmanager
def _staging() -> Iterator[None]:
    """The client stages tables among the outputs, unless the user has said where; by itself it takes the home."""
    if _PLACE in os.environ:
        yield
        return
    os.environ[_PLACE] = str(outputs() / "wandb")
    try:
        yield
    finally:
        del os.environ[_PLACE]


def _flat(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """With the labels of its lines as columns, which a logged table would lose."""
    return table if table.index.names == [None] and table.index.inferred_type == "integer" else table.reset_index()


def _by_step(curve: Sequence[dict]) -> dict[int, dict[str, float]]:
    """One entry a step: a training loss and an evaluation of the same step belong together."""
    steps: dict[int, dict[str, float]] = {}
    for entry in curve:
        metrics = {name: value for name, value in entry.items() if name != "step" and _is_number(value)}
        steps.setdefault(int(entry["step"]), {}).update(metrics)
    return steps


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
