"""From timestamps and samples to figures. Pure."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: The part of the output that is measured: start and end of a run are not steady.
FROM, TO = 0.1, 0.9

#: A system falls behind when its latency at the end is this many times that at the start, and this much more.
FALLING_BEHIND_FACTOR, FALLING_BEHIND_MS = 1.5, 100.0


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a run: between which clock times (milliseconds) how many input records were worked off."""

    start_ms: float
    end_ms: float
    records: float

    @property
    def rate(self) -> float:
        """Records a second. Raises ValueError when the span has no length."""
        if self.end_ms <= self.start_ms:
            raise ValueError("the output came at one moment: there is no rate")
        return self.records / (self.end_ms - self.start_ms) * 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds since the start, and megabytes at the time, of all processes together."""

    at_ms: float
    cpu_seconds: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds to the first output, and whether the run was then left to its end or cut."""

    first_output_seconds: float
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. `cpu_micros` is CPU time a record (equal to CPU seconds a million records)."""

    rate: float
    cpu_micros: float
    peak_mb: float
    start: Start


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed. `ordered` is ascending and not empty."""
    place = max(0, -(-int(share * len(ordered) * 1_000_000) // 1_000_000) - 1)
    return ordered[min(place, len(ordered) - 1)]


def keeps_up(latencies_ms: Sequence[float]) -> bool:
    """False when latencies, in order of arrival, grow all the time: the system is slower than what comes in."""
    quarter = len(latencies_ms) // 4
    if quarter == 0:
        return True
    first, last = statistics.median(latencies_ms[:quarter]), statistics.median(latencies_ms[-quarter:])
    return last < FALLING_BEHIND_FACTOR * first + FALLING_BEHIND_MS


def span_of_rows(times_ms: Sequence[float], records: int) -> Span:
    """The measured part of an output in which every row stands for as many input records as any other."""
    first, last = _bounds(len(times_ms))
    return Span(times_ms[first], times_ms[last], records * (last - first) / len(times_ms))


def span_of_windows(
    times_ms: Sequence[float], windows: Sequence[int], record_of: Callable[[int], int], last: bool = False
) -> Span:
    """The measured part of an output of windows, which comes in bursts.

    When the first row of a window comes, all records before its end have been worked off; so the span goes from the
    first row of one window to the first row of another. `record_of` gives the number of a window's first record.
    `last`: windows come in several parts, and their last rows are taken.
    """
    shown: dict[int, float] = {}
    for at_ms, window in zip(times_ms, windows, strict=True):
        if last or window not in shown:
            shown[window] = at_ms
    low, high = (windows[bound] for bound in _bounds(len(windows)))
    if low == high:
        low, high = min(shown), max(shown)
    return Span(shown[low], shown[high], record_of(high) - record_of(low))


def _bounds(rows: int) -> tuple[int, int]:
    return int(rows * FROM), min(rows - 1, int(rows * TO))


def cpu_at(samples: Sequence[Sample], at_ms: float) -> float:
    """CPU seconds at a time, on the straight line between the samples around it."""
    place = bisect_left([sample.at_ms for sample in samples], at_ms)
    if place == 0:
        return samples[0].cpu_seconds
    if place == len(samples):
        return samples[-1].cpu_seconds
    before, after = samples[place - 1], samples[place]
    share = (at_ms - before.at_ms) / (after.at_ms - before.at_ms)
    return before.cpu_seconds + share * (after.cpu_seconds - before.cpu_seconds)


def figures(span: Span, samples: Sequence[Sample], start: Start) -> Figures:
    """The figures of a run from its measured part and the samples of its processes."""
    used = cpu_at(samples, span.end_ms) - cpu_at(samples, span.start_ms)
    peak = max(sample.megabytes for sample in samples)
    return Figures(span.rate, used / span.records * 1e6, peak, start)


def median(taken: Sequence[Figures]) -> Figures:
    """The median of each figure by itself."""
    return Figures(
        rate=statistics.median(one.rate for one in taken),
        cpu_micros=statistics.median(one.cpu_micros for one in taken),
        peak_mb=statistics.median(one.peak_mb for one in taken),
        start=Start(
            statistics.median(one.start.first_output_seconds for one in taken), all(one.start.whole for one in taken)
        ),
    )


def spread(taken: Sequence[Figures]) -> float:
    """How far the rates of the rounds lie apart: the widest distance as a share of the median."""
    rates = [one.rate for one in taken]
    return (max(rates) - min(rates)) / statistics.median(rates)
