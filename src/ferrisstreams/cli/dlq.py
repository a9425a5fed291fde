"""`ferris dlq`: which letters are meant, and what is done with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import typer

from ferrisstreams.cli.application import choose, open_kept
from ferrisstreams.cli.dlq_arguments import Chosen, ListArguments, PurgeArguments, ReplayArguments
from ferrisstreams.cli.dlq_view import print_letters, print_purged, print_replayed, print_whole
from ferrisstreams.clock import SystemClock
from ferrisstreams.config.kinds import parse_duration_ms
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.dlq_filter import LetterFilter
from ferrisstreams.session.dlq_letters import Letter, LetterState
from ferrisstreams.session.dlq_open import open_to_change, open_to_read


def run_list(arguments: ListArguments) -> int:
    """The exit code: 0."""
    letters, total = _read(arguments)
    print_letters(letters, total, arguments.output)
    return 0


def run_show(arguments: ListArguments) -> int:
    """The exit code: 0 shown, 1 there is no such letter."""
    letters, total = _read(arguments)
    print_whole(letters, total, arguments.output)
    return 0 if letters else 1


def run_replay(arguments: ReplayArguments) -> int:
    """The exit code: 0. Raises FerrisError where the records cannot be sent."""
    wanted = _filter(arguments)
    application, options, jobs = _jobs(arguments)
    reports = []
    for job in _with_letters(application, options, jobs):
        if arguments.to is not None and len(jobs) > 1 and arguments.job is None:
            raise typer.BadParameter("--to takes the records of one job: name it by --job", param_hint="--job")
        with open_to_change(application, options, job, arguments.dry_run, True, arguments.to) as opened:
            if opened is not None:
                _tell_of_open_epoch(job, opened.bytes_not_final)
                reports.append(opened.queue.replay(wanted, opened.target, arguments.dry_run))
    print_replayed(reports, arguments.output)
    return 0


def run_purge(arguments: PurgeArguments) -> int:
    """The exit code: 0, or 1 when the answer was no."""
    wanted = _filter(arguments)
    application, options, jobs = _jobs(arguments)
    if not (arguments.yes or arguments.dry_run) and not sys.stdin.isatty():
        raise typer.BadParameter("purging erases for good: pass --yes, or look with --dry-run", param_hint="--yes")
    reports = []
    for job in _with_letters(application, options, jobs):
        with open_to_change(application, options, job, arguments.dry_run, replaying=False) as opened:
            if opened is None:
                continue
            count = opened.queue.purge(wanted, dry_run=True).purged
            if count and not (arguments.yes or arguments.dry_run):
                question = f"erase {count} dead letters of {job.name} for good?"
                if not typer.confirm(question, err=True):
                    return 1
            reports.append(opened.queue.purge(wanted, arguments.dry_run))
    print_purged(reports, arguments.output)
    return 0


# --- what is meant ----------------------------------------------------------------------------------------------------


def _read(arguments: ListArguments) -> tuple[list[tuple[str, Letter]], int]:
    """The first letters that are meant, each with its job, and how many there are."""
    wanted = _filter(arguments)
    application, options, jobs = _jobs(arguments)
    shown: list[tuple[str, Letter]] = []
    total = 0
    for job in _with_letters(application, options, jobs):
        with open_to_read(application, options, job) as opened:
            if opened is None:
                continue
            _tell_of_open_epoch(job, opened.bytes_not_final)
            letters = opened.queue.letters(wanted)
            first = [(job.name, letter) for letter in islice(letters, arguments.limit - len(shown))]
            shown += first
            total += len(first) + sum(1 for _ in letters)
    return shown, total


def _jobs(arguments: Chosen) -> tuple[Application, RunOptions, tuple[JobPlan, ...]]:
    application, options = open_kept(arguments)
    jobs = tuple(job for job in choose(application, arguments.job) if not job.plan.spec.anonymous)
    if not jobs:
        raise typer.BadParameter("a SELECT alone keeps no dead letters", param_hint="FILE")
    return application, options, jobs


def _with_letters(application: Application, options: RunOptions, jobs: tuple[JobPlan, ...]) -> Iterator[JobPlan]:
    """The jobs that have letters; when none has, standard error says so."""
    found = False
    for job in jobs:
        with open_to_read(application, options, job) as opened:
            exists = opened is not None
        if exists:
            found = True
            yield job
    if not found:
        names = ", ".join(job.name for job in jobs)
        sys.stderr.write(
            f"no dead letters of {names}: none was written yet, or 'failure_strategy' is not 'send_to_dlq'\n"
        )


def _tell_of_open_epoch(job: JobPlan, size: int) -> None:
    if size > 0:
        sys.stderr.write(f"{job.name}: {size} bytes of dead letters are not committed yet and left out\n")


def _filter(arguments: Chosen) -> LetterFilter:
    return LetterFilter(
        ids=tuple(arguments.ids or ()),
        codes=tuple(code.upper() for code in arguments.codes or ()),
        stages=tuple(stage.value for stage in arguments.stages or ()),
        states=tuple(LetterState(state.value) for state in arguments.states or ()),
        since_us=_time(arguments.since, "--since"),
        until_us=_time(arguments.until, "--until"),
        text=arguments.text,
        where=arguments.where,
    )


def _time(written: str | None, option: str) -> int | None:
    """A point in time of ISO 8601 (UTC unless it says otherwise), or of a duration ago."""
    if written is None:
        return None
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        try:
            return SystemClock().now_us() - int(parse_duration_ms(written) * 1000)
        except ValueError:
            hint = f"{written!r} is not a time: write 2024-01-01T09:00:00Z, or 2h for two hours ago"
            raise typer.BadParameter(hint, param_hint=option) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)
