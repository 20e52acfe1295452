"""What a notebook needs around its method: one start at the top, one record at the end.

`start_run` checks, seeds and says what the run stands on; `Run.save` writes the ledger's record. Neither computes a
figure: those come from the modules below. Where records go is decided in `common.results.places`.
"""

import dataclasses
import importlib.metadata
import logging
import platform
import random
import sqlite3
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas

from common import distributed, locks, paths, provenance, results
from common.costs import cost_table
from common.data import Example, load_tests
from common.data import revision as data_revision
from common.inputs import check_data
from common.profiles import Profile, resolve
from common.results import sections
from common.results.comparable import find_comparable
from common.results.ledger import check_name
from common.results.measures import ANSWERS, find_measures, save_measures
from common.results.places import command, place, usual_seed, with_overrides
from common.results.record import Decoding, Record
from common.settings import UserError, outputs, relative, writable
from common.statistics import TEST, figures, of_split
from common.tracking import log_record

if TYPE_CHECKING:
    from common.evaluation import Report
    from common.models import LoadedModel
    from common.sweeps import SearchResult
    from common.training.sft import Trained

__all__ = ["Run", "cost_table", "start_run"]


@dataclass(frozen=True)
class Run:
    """One execution of a notebook: its profile after overrides and its seed; `folder` holds what it keeps to go on
    with, `place` its records. revision: of the base model, "" for a notebook that loads none."""

    name: str
    notebook: str
    profile: Profile
    seed: int
    parameters: dict
    folder: Path
    place: Path
    revision: str = ""

    def needed(self, method: str) -> tuple[dict, list[dict]]:
        """Record and predictions rows, of all splits, of a run that this one is compared with: of its own folder of
        records, or committed ones of the same rows, prompt, decoding, scoring and base model.

        Raises UserError, with the command that makes such a record, where there is none.
        """
        place = self._place_of(method)
        return results.read_record(place, method), results.read_predictions(place, method)

    def curve(self, method: str) -> pandas.DataFrame:
        """The curve of a run that this one is compared with, see `needed`. Raises UserError as that does."""
        return pandas.read_csv(self._place_of(method) / f"{method}.curve.csv")

    def _place_of(self, method: str) -> Path:
        return find_comparable(method, self.terms, self._folders, command(method, self.profile))

    @property
    def _folders(self) -> list[Path]:
        """Where records lie that this run may use: a run at another seed has a folder of its own, and the same rows."""
        return [*dict.fromkeys([self.place, usual_seed(self.place), results.folder(self.profile.name)])]

    def upstream(self, method: str) -> str:
        """What names the weights or the files that a record of `method` is of, "" where there are none.

        Raises UserError, with what to run first, unless there is a record of it: of a comparable run, or of what is no
        run, such as pairs, which rows to test on are nothing to.
        """
        if record := self._measures(method):
            return str(record["facts"].get("files", ""))
        return self.needed(method)[0]["model"].get("weights_digest", "")

    def measures(self, method: str) -> dict:
        """A record of what is no run, see `results.measures`. Raises UserError, with what to run first, where there is
        none of this base model and data."""
        if record := self._measures(method):
            return record
        raise UserError(f"there is no record '{method}' of this model; {command(method, self.profile)} writes it")

    def _measures(self, method: str) -> dict:
        usual = place(self.notebook, self.profile.name, self.seed, self.parameters | {"test_rows": 0})
        source = paths.source_name(self.profile.data)
        return find_measures(method, [*self._folders, usual], base=self._base, source=source)

    @property
    def _base(self) -> dict[str, str]:
        return {"id": paths.model_name(self.profile.model_id), "revision": self.revision}

    def optional(self, *methods: str) -> dict[str, list[dict]]:
        """Predictions rows by method, of those of `methods` whose records are there and comparable, see `needed`."""
        rows = {}
        for method in methods:
            with suppress(UserError):
                rows[method] = self.needed(method)[1]
        return rows

    @cached_property
    def terms(self) -> dict:
        """What a record has to agree with to be compared with this run's, in the shape of a record's sections."""
        sizes = self.profile
        others = {split: sections.split_data(rows) for split, rows in self.tests.items() if split != TEST}
        return {
            "profile": sizes.name,
            "code": {"scorer_digest": sections.scorer_digest()},
            "data": asdict(sections.data(sizes.data, self.tests[TEST])),
            "splits": others,
            "model": self._base,
            "scoring": asdict(sections.scoring(sizes.databases)),
            "decoding": asdict(self._decoding),
        }

    @cached_property
    def tests(self) -> dict[str, list[Example]]:
        """What every method is tested on: rows of `test`, and of `test_unseen` and `test_forms` where the source has
        them, as many as the profile says. They are the same at every seed."""
        sizes = self.profile
        return load_tests(sizes.data, limit=sizes.test_rows, other_limit=sizes.other_test_rows)

    def evaluate(
        self, loaded: "LoadedModel", name: str, *, prompt: "Callable[[Example, Any], list[int]] | None" = None
    ) -> "Report":
        """Answers to all of `tests`, scored; they are kept in the run's folder under `name` and gone on from, see
        `common.evaluation.evaluate`. prompt: where it is not the study's own."""
        from common.evaluation import evaluate

        return evaluate(
            loaded,
            self.tests,
            folder=self.folder / name,
            max_new_tokens=self.profile.max_new_tokens,
            batch_size=self.profile.eval_batch_size,
            databases=self.profile.databases,
            **({"prompt": prompt} if prompt else {}),
        )

    @property
    def _decoding(self) -> Decoding:
        return Decoding(max_new_tokens=self.profile.max_new_tokens, do_sample=False)

    def save_tables(self, kind: str, tables: "dict[str, pandas.DataFrame]", **about: object) -> Path:
        """Write the record of what is no run of a method under the run's name, see `results.measures`. about: its
        `loaded`, `trained` and `facts`."""
        about |= {"notebook": self.notebook, "profile": self.profile, "seed": self.seed, "parameters": self.parameters}
        about |= {"base": self._base}
        path = save_measures(self.place, kind, self.name, tables, **about)
        if kind != ANSWERS:  # of a database that may be the user's
            self._track(path, about.get("trained"), tables)
        return path

    def save(
        self,
        report: "Report",
        loaded: "LoadedModel | None",
        *,
        method: str = "",
        trained: "Trained | None" = None,
        found: "SearchResult | None" = None,
        adapter: str = "",
        recipe: object = None,
    ) -> Path:
        """Write the ledger's record (with predictions and a curve of at most 500 points) and print its path.

        report: of all of `tests`. loaded: what answered, None where no model did. found: the search that the recipe
        comes from.
        """
        method, search = method or self.name, found
        record = Record(
            method=method,
            profile=self.profile.name,
            status="complete",
            notebook=self.notebook,
            seed=self.seed,
            parameters=paths.public(self.parameters) | ({"recipe": paths.public(asdict(recipe))} if recipe else {}),
            code=sections.code(self.notebook, report, trained),
            data=sections.data(self.profile.data, self.tests[TEST]),
            model=sections.model(loaded, self.profile.precision, adapter, trained),
            scoring=sections.scoring(self.profile.databases),
            decoding=self._decoding,
            environment=sections.environment(sections.computing_modules(self.notebook)),
            stages=sections.stages(search, trained),
            **figures(of_split(report.rows)),
            splits=sections.splits(self.tests, report.rows),
            cost=sections.cost(report, trained, search),
            curve=f"{method}.curve.csv" if trained else "",
            trials=f"{method}.trials.csv" if search else "",
            search=search.to_record() if search else {},
        ).as_dict()
        curve = sections.thin_curve(trained.curve) if trained else None
        path = results.write_record(self.place, record, report.rows, curve, search.trials if search else None)
        # Answers hold other data's rows, often to the letter: only those to the study's own rows go anywhere.
        is_ours = record["data"]["source"] == "embedded"
        tables = {"predictions": pandas.DataFrame(results.read_predictions(self.place, method))} if is_ours else {}
        self._track(path, trained, tables | ({"trials": search.trials} if search else {}), search.id if search else "")
        print(f"record: {relative(path)}")
        return path

    def _track(
        self, path: Path, trained: "Trained | None", tables: "dict[str, pandas.DataFrame]", group: str = ""
    ) -> None:
        """The record at `path` as a run in Weights & Biases; executed again, it has the same id."""
        curve = trained.curve.to_dict("records") if trained else ()
        log_record(path, digest=self.folder.name.rpartition("-")[2], group=group, curve=curve, tables=tables)


def start_run(
    name: str,
    *,
    notebook: str,
    profile: str = "auto",
    seed: int = 42,
    model_id: str = "",
    data: str = "",
    test_rows: int = 0,
    needs: Sequence[str] = (),
    **parameters: object,
) -> Run:
    """Check what the run needs, set the seeds, take its folder, print one line, and return the run.

    `model_id`, `data` and `test_rows` override the profile where given; relative paths in the first two count from this
    process's folder, which is the notebook's where it is run by hand. `parameters` are the notebook's own and are
    recorded. `needs` names methods whose records must exist and be comparable with what this run will answer. Raises
    UserError with what to do, also where another process works in the run's folder.
    """
    import transformers

    check_name(name)
    sizes = resolve(profile)
    if test_rows < 0:
        raise UserError(f"TEST_ROWS is {test_rows}; give 0 for the profile's {sizes.test_rows}, or a number of rows")
    if not 0 <= seed < 2**32:  # as NumPy has it
        raise UserError(f"SEED is {seed}; give a number from 0 to {2**32 - 1}")
    model_id, data = paths.model(model_id), paths.data(data)
    parameters = {"profile": profile, "model_id": model_id, "data": data, "test_rows": test_rows, **parameters}
    sizes = with_overrides(sizes, parameters)
    check_data(sizes.data)
    _quiet()
    modules = sections.computing_modules(notebook)
    with distributed.main_first():  # a model that is made or fetched is so by one process, the others find it
        revision = _revision(sizes.model_id) if sections.loads_a_model(modules) else ""
    # Rows are scored anew each time; what a parameter of 0 stands for is one of the values.
    basis = provenance.basis(*modules, *provenance.VALUES, without=provenance.SCORING)
    # Folders are no facts: the same data under another path are the same run's.
    named = [paths.public(part) for part in (dataclasses.asdict(sizes), parameters)]
    facts = [name, *named, data_revision(sizes.data), revision, seed, basis]
    run = Run(
        name=name,
        notebook=notebook,
        profile=sizes,
        seed=seed,
        parameters=parameters,
        folder=outputs(),
        place=place(notebook, sizes.name, seed, {**parameters, "run_name": name}),
        revision=revision,
    )
    # What it goes on from names its folder too; raises with what to run first.
    facts += [(method, digest) for method in needs if (digest := run.upstream(method))]
    folder = outputs() / "runs" / sizes.name / f"{name}-{provenance.digest(*facts)[:10]}"
    run = dataclasses.replace(run, folder=folder)
    writable(run.place)
    distributed.from_main(lambda: locks.hold(run.folder))
    random.seed(seed)
    transformers.set_seed(seed)
    print(
        f"{name} · profile {sizes.name} · seed {seed} · {sizes.precision} on {provenance.device_name()} · Python "
        f"{platform.python_version()} · "
        + " · ".join(f"{package} {importlib.metadata.version(package)}" for package in ("torch", "transformers"))
        + f" · SQLite {sqlite3.sqlite_version}"
    )
    return run


def _revision(model_id: str) -> str:
    """What the model is at, before it is loaded. Raises UserError where it cannot be had."""
    from common.models import locate

    return locate(model_id)[1]


def _quiet() -> None:
    """Libraries' advice is not the study's output; their errors still are."""
    import datasets
    import transformers

    warnings.filterwarnings("ignore")
    for name in ("torch.distributed", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    pandas.set_option("display.max_colwidth", None)
