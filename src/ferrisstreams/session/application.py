"""An application: SQL text, parsed, checked, explained and run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ferrisstreams.compile.compiler import message_key, state_kinds
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.registry import connector_of
from ferrisstreams.connectors.stdout_sink import RowStream
from ferrisstreams.duck.scratch import keep_scratch
from ferrisstreams.errors import ConfigError, FerrisError, collecting, placed_at
from ferrisstreams.plan.explain import explain, explain_json, explain_mermaid
from ferrisstreams.plan.nodes import ApplicationPlan, JobPlan
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.faults import faults_from
from ferrisstreams.runtime.identity import STATE_DIR, require_name
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.runtime.observer import Observer, Silent
from ferrisstreams.runtime.settings import settings_of_open
from ferrisstreams.session.columns import Columns, FoundColumns
from ferrisstreams.session.job_run import JobRun
from ferrisstreams.session.side_by_side import endless, not_started, start_all
from ferrisstreams.session.writers import refuse_shared_outputs
from ferrisstreams.sql.application import check_application, parse_application
from ferrisstreams.sql.config_files import ReadConfig

if TYPE_CHECKING:
    from ferrisstreams.session.status import JobStatus

__all__ = ["Application", "JobResult", "Result", "RunOptions"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`once`: stop when the sources have nothing more; `drain`: and close the windows that are open then, also where
    the source can go on. `while_open`: a followed file ends when the other end of this pipe is closed and all of it was
    read. `max_records`: stop after so many rows of this run.

    `overrides` are settings that win over the text, `state_dir` replaces `.ferris` beside the application file,
    `overwrite` starts over: the job's state is deleted and its target replaced. `jobs` None: all. `worker`: run one
    worker of a job whose `parallelism` says that it has several. `strict`: over a bounded source a row that fails is
    raised, unless a failure strategy is named; the command logs it and goes on. `rows_to` takes the
    rows that would go to standard output.
    """

    once: bool = False
    drain: bool = False
    while_open: int | None = None
    max_records: int | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    state_dir: str | None = None
    overwrite: bool = False
    jobs: tuple[str, ...] | None = None
    worker: int | None = None
    strict: bool = True
    rows_to: RowStream | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The results of all jobs, each behind those that it reads."""

    jobs: tuple[JobResult, ...]


class Application:
    """One or several jobs of one text."""

    def __init__(self, plan: ApplicationPlan, folder: Path, columns: Columns | None = None) -> None:
        self.plan = plan
        self.folder = folder
        self._columns = columns
        self._running: list[Job] = []
        self._stopped = False

    @classmethod
    def read(cls, path: str | Path) -> Application:
        """Read and parse a file. Raises SqlError, OSError."""
        return cls.parse(Path(path).read_text(encoding="utf-8-sig"), str(path))

    @classmethod
    def parse(
        cls, text: str, path: str, state_dir: str | None = None, infer_again: bool = False, topics: bool = False
    ) -> Application:
        """Parse a text; `path` names it in errors, and relative paths in it are relative to its folder.

        `state_dir` (as in `RunOptions`) is where the columns of sources that declare none are kept; `infer_again`:
        they are inferred again; `topics`: those of topics too, for which they are read. Otherwise such jobs stay open.
        """
        folder = _folder_of(path)
        columns = Columns(folder, Path(state_dir).absolute() if state_dir else folder / STATE_DIR, infer_again, topics)
        plan = parse_application(text, path, infer=columns.infer, read_config=_config_reader(folder))
        if (written := plan.annotations.get("app")) is not None:
            with placed_at(written.position):
                require_name("application", plan.name)
        return cls(plan, folder, columns)

    @classmethod
    def parse_rest(cls, text: str, path: str, errors: list[FerrisError]) -> Application:
        """What of a text is right, to be looked at and not to be run: the errors of all statements go to `errors`."""
        folder = _folder_of(path)
        columns = Columns(folder, folder / STATE_DIR)
        plan = check_application(text, path, errors, columns.infer, _config_reader(folder))
        if (written := plan.annotations.get("app")) is not None:
            with collecting(errors), placed_at(written.position):
                require_name("application", plan.name)
        return cls(plan, folder, columns)

    def check(self, options: RunOptions | None = None, errors: list[FerrisError] | None = None) -> list[str]:
        """Check every job without opening anything; the warnings. Raises FerrisError; with `errors`, those of all jobs
        go there."""
        options, warnings = options or RunOptions(), [*self.plan.warnings]
        with keep_scratch():
            for plan in self.plan.jobs:
                with collecting(errors):
                    job = Job(plan, self.environment(options, Silent()))
                    job.check()
                    warnings += [f"job {plan.name}: {said}" for said in (*job.growths(), *job.missing_files())]
        for open_job in self.plan.open_jobs:
            with collecting(errors):
                settings_of_open(open_job, self.environment(options, Silent()).overrides)
        if not errors:
            with collecting(errors):
                self.refuse_shared_outputs(options)
        return warnings

    def explain(self, job: str | None = None, form: str = "text") -> str:
        """The plan of one job or of all: `text`, `json` or `mermaid`."""
        shown = []
        for plan in map(self._keyed, self._chosen((job,) if job else None)):
            match form:
                case "json":
                    shown.append(explain_json(plan, state_kinds))
                case "mermaid":
                    shown.append(explain_mermaid(plan, state_kinds))
                case _:
                    shown.append(explain(plan, state_kinds))
        return "\n".join(shown)

    def _keyed(self, plan: JobPlan) -> JobPlan:
        """The plan with the message key that its settings make of it, where it writes to a topic."""
        connector = connector_of(plan.plan.spec.properties)
        if connector is None or not connector.messages:
            return plan
        builder = JobBuilder(plan, self.environment(RunOptions(), Silent()))
        key = message_key(plan.plan, builder.compile_settings())
        return replace(plan, plan=replace(plan.plan, message_key=key))

    def run(self, *, options: RunOptions | None = None, observer: Observer | None = None) -> Result:
        """Run the jobs in this process: one after another, each before those that read its output; or, where one of
        them is endless, all at the same time, each in a thread. What ends a job is in its result.

        Raises ConfigError for a job that needs processes of its own, because it has several workers, and, when all jobs
        have ended, RowError for a row that failed where `strict` says so: its epoch is rolled back.
        """
        options = options or RunOptions()
        if options.drain and not options.once:
            raise ConfigError("drain closes what is open when a run ends: it goes with once", "E3003", "set once=True")
        self.refuse_open_jobs()
        self.refuse_shared_outputs(options)
        if options.worker is None:
            self._refuse_several_workers(options)
        self.keep_columns(options)
        plans, lock = sort_jobs(self._chosen(options.jobs)), Lock()
        runs = {
            plan.name: JobRun(plan.name, partial(self._job, plan, options), observer or Silent(), lock)
            for plan in plans
        }
        self._run_all(plans, runs, options.once)
        if any(run.failed for run in runs.values()):
            self.give_back_columns(options)
        for run in runs.values():
            if (error := run.raised or run.row_error) is not None:
                raise error
        return Result(tuple(run.result for run in runs.values()))

    def _run_all(self, plans: Sequence[JobPlan], runs: Mapping[str, JobRun], once: bool) -> None:
        try:
            if len(plans) > 1 and endless(plans, once):
                self._run_together(plans, runs)
                return
            for plan in plans:
                failed = [name for name in plan.depends_on if name in runs and runs[name].failed]
                if failed:
                    runs[plan.name].refuse(not_started(plan.name, failed))
                else:
                    runs[plan.name].run(None)
        finally:
            self._running.clear()

    def _run_together(self, plans: Sequence[JobPlan], runs: Mapping[str, JobRun]) -> None:
        start_all(plans, runs, once=False)
        try:
            for run in runs.values():
                run.wait()
        except BaseException:  # an interrupt, which only the calling thread is given
            self.stop()
            for run in runs.values():
                run.ended.wait()
            raise

    def _job(self, plan: JobPlan, options: RunOptions, observer: Observer, while_open: int | None) -> Job:
        given = options if while_open is None else replace(options, while_open=while_open)
        job = Job(plan, self.environment(given, observer))
        self._running.append(job)
        if self._stopped:
            job.stop()
        return job

    def status(self, options: RunOptions | None = None) -> list[JobStatus]:
        """How each job is doing that keeps a state, whether it runs, here or in another process, or not. Raises
        StateError for a state that cannot be read."""
        from ferrisstreams.session.status import status  # it asks applications itself

        return status(self, options or RunOptions())

    def format_rows(self, form: str) -> None:
        """Rows of a SELECT alone are written in this format, whatever its settings say."""
        self.plan = replace(self.plan, jobs=tuple(_formatted(job, form) for job in self.plan.jobs))

    def refuse_shared_outputs(self, options: RunOptions) -> None:
        """Raises ConfigError where two jobs would write one file, whichever of them is run now."""
        builders = [JobBuilder(job, self.environment(options, Silent())) for job in self.plan.jobs]
        try:
            refuse_shared_outputs(builders)
        finally:
            for builder in builders:
                builder.close()

    def parallelism(self, job: JobPlan, options: RunOptions) -> int:
        """How many workers a job has. Raises ConfigError where it cannot have them."""
        return JobBuilder(job, self.environment(options, Silent())).parallelism

    def _refuse_several_workers(self, options: RunOptions) -> None:
        for job in self._chosen(options.jobs):
            workers = self.parallelism(job, options)
            if workers > 1:
                raise ConfigError(
                    f"{job.name} has {workers} workers ('parallelism'), each a process of its own: they cannot run in"
                    " the calling process",
                    "E3006",
                    "run the application with `ferris run`, or set 'parallelism' to 1 (overrides={'parallelism': '1'})",
                    job.position,
                )

    def refuse_open_jobs(self) -> None:
        """Raises ConfigError when the columns of a source are not known, so that its job cannot run."""
        for job in self.plan.open_jobs:
            raise ConfigError(
                f"the columns of {job.source.name} are not known",
                "E3004",
                f"declare them: CREATE STREAM {job.source.name} (columns) WITH (…)",
                job.position,
            )

    @property
    def found_columns(self) -> tuple[FoundColumns, ...]:
        """Of the sources that declare none, what was inferred now or kept from an earlier run."""
        return tuple(self._columns.found) if self._columns is not None else ()

    def keep_columns(self, options: RunOptions) -> None:
        """Write down what was inferred, so that later runs are held to it; a SELECT alone keeps nothing."""
        if self._columns is not None and not all(job.plan.spec.anonymous for job in self.plan.jobs):
            self._columns.keep(self.state_root(options))

    def give_back_columns(self, options: RunOptions) -> None:
        """After a job has failed: what was inferred in this run is forgotten, unless some state goes by it."""
        folders = (JobBuilder(job, self.environment(options, Silent())).job_folder() for job in self.plan.jobs)
        if self._columns is not None and not any(folder.exists() for folder in folders):
            self._columns.forget(self.state_root(options))

    def stop(self) -> None:
        """Ask the running jobs to end after their current batches, and the following ones to end at once."""
        self._stopped = True
        for job in tuple(self._running):
            job.stop()

    def environment(self, options: RunOptions, observer: Observer) -> Environment:
        """What surrounds the jobs of a run."""
        return Environment(
            application=self.plan.name,
            folder=self.folder,
            state_root=self.state_root(options),
            overrides={name: Property(value, origin="--set") for name, value in options.overrides.items()},
            overwrite=options.overwrite,
            once=options.once,
            drain=options.drain,
            while_open=options.while_open,
            rows_max=options.max_records,
            worker=options.worker,
            strict=options.strict,
            rows_to=options.rows_to,
            faults=faults_from(os.environ.get("FERRIS_FAULT")),
            observer=observer,
        )

    def state_root(self, options: RunOptions) -> Path:
        """The folder of all state."""
        return Path(options.state_dir).absolute() if options.state_dir else self.folder / STATE_DIR

    def _chosen(self, names: tuple[str, ...] | None) -> tuple[JobPlan, ...]:
        if names is None:
            return self.plan.jobs
        known = {job.name: job for job in self.plan.jobs}
        for name in names:
            if name not in known:
                raise ConfigError(f"there is no job named {name}", "E3002", f"the jobs are {', '.join(known)}")
        return tuple(known[name] for name in names)


def _folder_of(path: str) -> Path:
    return (Path(path).parent if not path.startswith("<") else Path()).absolute()


def _config_reader(folder: Path) -> ReadConfig:
    """Reads the configuration files that a text names, relative to its folder."""

    def read(name: str) -> Mapping[str, Property]:
        # Imported here: few applications have one.
        from ferrisstreams.config.yaml_file import read_properties

        return read_properties(folder / name)

    return read


def _formatted(job: JobPlan, form: str) -> JobPlan:
    spec = job.plan.spec
    if not spec.anonymous:
        return job
    properties = {**spec.properties, "format": Property(form, origin="--output")}
    return replace(job, plan=replace(job.plan, spec=replace(spec, properties=properties)))


def sort_jobs(jobs: tuple[JobPlan, ...]) -> list[JobPlan]:
    """The jobs, each behind those whose output it reads."""
    ordered: list[JobPlan] = []
    waiting = list(jobs)
    names = {job.name for job in jobs}
    while waiting:
        done = {job.name for job in ordered}
        ready = [job for job in waiting if all(name in done or name not in names for name in job.depends_on)]
        assert ready, "a stream is declared before it is read: dependences have no cycle"
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered
