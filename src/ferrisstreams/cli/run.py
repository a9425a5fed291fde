"""`ferris run`: one job in this process, several in a worker each; progress while they run, the ledger at the end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from ferrisstreams.cli.application import choose, open_application, read_text
from ferrisstreams.cli.arguments import RunArguments, RunOutput, parse_settings
from ferrisstreams.cli.failure import as_json, report
from ferrisstreams.cli.messages import PROGRESS, progress_message
from ferrisstreams.cli.signals import stopping_on_signal
from ferrisstreams.cli.streams import terminal_columns
from ferrisstreams.cli.summary import JobSummary, print_json, print_select, print_summary
from ferrisstreams.cli.views import LogView, QuietView, View, watching
from ferrisstreams.cli.workers import fork_server, run_in_workers
from ferrisstreams.connectors.registry import connector_of
from ferrisstreams.connectors.stdout_sink import ReaderGoneError, standard_output
from ferrisstreams.errors import InternalError, as_ferris_error
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.telemetry.logs import LogObserver, log_to_standard_error

if TYPE_CHECKING:
    from ferrisstreams.plan.nodes import JobPlan
    from ferrisstreams.workers.fork_server import ForkServer


def run(arguments: RunArguments) -> int:
    """The exit code: 0 all jobs finished or were stopped in order, 1 one failed or the application is wrong."""
    if arguments.drain and not arguments.once:
        raise typer.BadParameter("it closes what is open when a run ends: give --once too", param_hint="--drain")
    if arguments.number is not None:
        return _run(arguments, None)
    # Forked before anything is opened, of which a fork would have a part only.
    server = fork_server()
    try:
        return _run(arguments, server)
    finally:
        server.close()


def _run(arguments: RunArguments, server: ForkServer | None) -> int:
    """`server`: from which workers are forked; a worker of several has none."""
    log_to_standard_error(as_json=arguments.worker or not sys.stderr.isatty())
    text = read_text(arguments.file)
    options = run_options(arguments)
    try:
        application = open_application(arguments.file, text, options.state_dir, options.overwrite, topics=True)
        application.refuse_open_jobs()
        _tell_columns(application, arguments)
    except Exception as error:
        return _refuse(error, arguments)
    jobs = choose(application, arguments.job)
    if not jobs:
        raise typer.BadParameter(f"{arguments.file} has no job to run", param_hint="FILE")
    if arguments.overwrite and not arguments.worker and not _may_overwrite(application, jobs, arguments):
        return 1
    rows_on_stdout = _prints_rows(jobs)
    options = _choose_rows(application, jobs, options, arguments)
    try:
        if rows_on_stdout:
            standard_output()
        if server is None:
            summaries = _run_here(application, options, arguments, rows_on_stdout)
        elif len(jobs) == 1 and application.parallelism(jobs[0], options) > 1:
            summaries = [_run_several_workers(application, jobs[0], arguments, text, server)]
        elif len(jobs) == 1:
            server.close()
            summaries = _run_here(application, options, arguments, rows_on_stdout)
        else:
            application.check(options)
            application.keep_columns(options)
            with _view(arguments, rows_on_stdout, application.stop) as view:
                summaries = run_in_workers(jobs, arguments, text, view, server)
            if any(summary.state == "failed" for summary in summaries):
                application.give_back_columns(options)
    except Exception as error:
        return _refuse(error, arguments)
    _show(summaries, arguments, rows_on_stdout, _is_select(jobs))
    return 1 if any(summary.state == "failed" for summary in summaries) else 0


def _may_overwrite(application: Application, jobs: tuple[JobPlan, ...], arguments: RunArguments) -> bool:
    """Asks for each job that has a state: starting over deletes it, as `ferris state reset` does."""
    from ferrisstreams.session.state import kept_folder

    options = run_options(arguments)
    kept = {job.name: kept_folder(application, options, job) for job in jobs if not job.plan.spec.anonymous}
    for name, folder in kept.items():
        if folder is None or arguments.yes:
            continue
        if not sys.stdin.isatty():
            raise typer.BadParameter(
                f"it deletes the state of {name} ({folder}) and what the job has written: pass --yes",
                param_hint="--overwrite",
            )
        question = f"delete the state of {name} ({folder}) and what it has written?"
        if not typer.confirm(question, err=True):
            return False
    return True


def _tell_columns(application: Application, arguments: RunArguments) -> None:
    """Columns that nobody declared are said once, when they are inferred."""
    for found in application.found_columns:
        if not found.kept and not arguments.worker:
            left_out = {"left_out": "; ".join(found.unusable)} if found.unusable else {}
            LogObserver().event("columns_inferred", source=found.source, columns=str(found), **left_out)


def run_options(arguments: RunArguments) -> RunOptions:
    return RunOptions(
        once=arguments.once,
        drain=arguments.drain,
        while_open=arguments.while_open,
        max_records=arguments.max_records,
        overrides=parse_settings(arguments.settings),
        state_dir=str(arguments.state_dir) if arguments.state_dir else None,
        overwrite=arguments.overwrite,
        jobs=(arguments.job,) if arguments.job else None,
        worker=arguments.number,
        strict=False,
    )


def _view(arguments: RunArguments, rows_on_stdout: bool, stop: Callable[[], None]) -> AbstractContextManager[View]:
    """`stop`: called in a worker whose parent is gone."""
    if arguments.worker:
        return nullcontext(_WorkerView(stop))
    if arguments.quiet:
        return nullcontext(QuietView())
    return watching(rows_on_stdout, metrics=arguments.output is RunOutput.JSON)


def _run_here(
    application: Application, options: RunOptions, arguments: RunArguments, rows_on_stdout: bool
) -> list[JobSummary]:
    with _view(arguments, rows_on_stdout, application.stop) as view:

        def kill() -> None:
            view.release()
            _kill_self()

        with stopping_on_signal(application.stop, kill, view.tell_stopping):
            result = application.run(options=options, observer=view)
    if _is_select(application.plan.jobs) and isinstance(result.jobs[0].error, ReaderGoneError):
        raise BrokenPipeError
    for job in result.jobs:
        # The error of one of several workers is reported by the process that started them.
        if job.error is not None and arguments.number is None:
            report(job.error)
    return [JobSummary.from_result(job) for job in result.jobs]


def _run_several_workers(
    application: Application, job: JobPlan, arguments: RunArguments, text: str, server: ForkServer
) -> JobSummary:
    """One job in several processes. Raises FerrisError for what is refused before they start."""
    from ferrisstreams.cli.parallel import ParallelJob
    from ferrisstreams.session.workers import give_back, prepare_workers

    options = run_options(arguments)
    application.keep_columns(options)
    parallel = ParallelJob(job.name, application.parallelism(job, options), server)
    with _view(arguments, False, parallel.stop) as view:
        prepare_workers(application, options, job, view)
        summary = parallel.run(arguments, text, view)
    if summary.state == "failed":
        give_back(application, options, job)
        application.give_back_columns(options)
    return summary


def _refuse(error: Exception, arguments: RunArguments) -> int:
    """Nothing ran, or a bug of ours ended it, or whoever read the rows has gone."""
    if isinstance(error, BrokenPipeError):
        return report(error)
    shown = as_ferris_error(error)
    # An ordinary error of one of several workers is reported by the process that started them.
    code = report(error) if arguments.number is None or isinstance(shown, InternalError) else 1
    if arguments.worker or arguments.output is RunOutput.JSON:
        print_json([], as_json(shown))
    return code


def _kill_self() -> None:
    """The state file and the marks make this safe: the next run goes on from the last epoch."""
    os.kill(os.getpid(), signal.SIGKILL)


def _prints_rows(jobs: tuple[JobPlan, ...]) -> bool:
    """Whether rows go to standard output; the summary for people then goes to standard error."""
    specs = (job.plan.spec for job in jobs)
    return any(
        spec.anonymous or ((connector := connector_of(spec.properties)) is not None and connector.prints)
        for spec in specs
    )


def _is_select(jobs: tuple[JobPlan, ...]) -> bool:
    """Whether a SELECT alone is all that is run."""
    return len(jobs) == 1 and jobs[0].plan.spec.anonymous


def _choose_rows(
    application: Application, jobs: tuple[JobPlan, ...], options: RunOptions, arguments: RunArguments
) -> RunOptions:
    """How the rows of a SELECT alone are shown: a table where people read it, unless its own settings say otherwise."""
    form, on_terminal = arguments.output, sys.stdout.isatty()
    if form is RunOutput.CSV and not arguments.worker and not any(job.plan.spec.anonymous for job in jobs):
        raise typer.BadParameter("csv is for the rows of a SELECT alone, and the application has none", param_hint="-o")
    if form is not None:
        application.format_rows("csv" if form is RunOutput.CSV else "json")
    own = any(key.lower() in ("format", "connector") for key in jobs[0].plan.spec.properties)
    as_table = form is RunOutput.TABLE or (form is None and on_terminal and not own)
    if not as_table or not _is_select(jobs) or arguments.worker:
        return options
    from ferrisstreams.cli.row_table import RowTable

    return replace(options, rows_to=RowTable(sys.stdout, terminal_columns(sys.stdout) if on_terminal else None))


def _show(summaries: list[JobSummary], arguments: RunArguments, rows_on_stdout: bool, select: bool) -> None:
    if arguments.worker or arguments.output is RunOutput.JSON:
        print_json(summaries)
    elif arguments.quiet:
        return
    elif select:
        print_select(summaries[0], sys.stderr)
    else:
        print_summary(summaries, sys.stderr if rows_on_stdout else sys.stdout, arguments.verbose)


class _WorkerView(LogView):
    """Tells the parent everything as JSON lines, and stops the job when the parent is gone."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stop = stop
        self._parent = os.getppid()

    def progress(self, event: ProgressEvent) -> None:
        self.event(PROGRESS, **progress_message(event))
        if os.getppid() != self._parent:
            self._stop()
