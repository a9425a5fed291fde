"""The figures of the benchmark over Kafka come out of timestamps and samples as they should."""

from __future__ import annotations

import pytest

from benchmarks.kafka.figures import (
    Figures,
    Sample,
    Span,
    Start,
    cpu_at,
    figures,
    keeps_up,
    median,
    percentile,
    span_of_rows,
    span_of_windows,
    spread,
)


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.999, 100), (1.0, 100)]
)
def test_percentile_is_the_smallest_value_that_covers_the_share(share: float, wanted: int) -> None:
    assert percentile(range(1, 101), share) == wanted


def test_percentile_of_one_value_is_that_value() -> None:
    assert [percentile([7.0], share) for share in (0.0, 0.5, 1.0)] == [7.0, 7.0, 7.0]


@pytest.mark.parametrize(
    ("latencies", "wanted"),
    [
        ([20.0, 30.0] * 50, True),
        ([200.0] * 25 + [20.0] * 75, True),
        ([float(row) for row in range(1000)], False),
        ([5.0, 9000.0], True),
        ([], True),
    ],
)
def test_system_falls_behind_when_its_latency_grows(latencies: list[float], wanted: bool) -> None:
    assert keeps_up(latencies) is wanted


def test_span_of_rows_leaves_start_and_end_out() -> None:
    # A slow start and a slow end; in between a row each millisecond, two input records for each.
    times = [0] * 10 + [1000 + row for row in range(80)] + [9000] * 10
    span = span_of_rows(times, records=200)
    assert (span.start_ms, span.end_ms) == (1000, 9000)
    assert span_of_rows(list(range(100)), records=200) == Span(10, 90, 160)
    assert span_of_rows(list(range(100)), records=200).rate == pytest.approx(2000)


def test_span_without_length_has_no_rate() -> None:
    with pytest.raises(ValueError, match="at one moment"):
        _ = span_of_rows([5, 5, 5], records=3).rate


def test_span_of_windows_goes_from_burst_to_burst() -> None:
    # Ten windows of two rows; each comes half a second after the one before, its rows 7 ms apart.
    times = [at for window in range(10) for at in (window * 500, window * 500 + 7)]
    windows = [window * 60_000 for window in range(10) for _ in range(2)]
    span = span_of_windows(times, windows, record_of=lambda window: window // 10)
    assert span == Span(500, 4500, 48_000)
    assert span.rate == pytest.approx(12_000)


def test_span_of_few_windows_takes_them_all() -> None:
    span = span_of_windows([0] * 50 + [400] * 2, [0] * 50 + [60_000] * 2, record_of=lambda window: window // 10)
    assert span == Span(0, 400, 6000)


def test_span_of_windows_in_any_order_within_a_burst() -> None:
    times, windows = [10, 11, 12, 13], [0, 60_000, 0, 60_000]
    assert span_of_windows(times, windows, record_of=lambda window: window) == Span(10, 11, 60_000)


def test_windows_in_parts_are_timed_by_their_last_rows() -> None:
    # One part is ahead by 300 ms, and comes on at the same rate.
    times = [at for window in range(10) for at in (window * 500, window * 500 + 300)]
    windows = [window * 60_000 for window in range(10) for _ in range(2)]
    span = span_of_windows(times, windows, record_of=lambda window: window // 10, last=True)
    assert span == Span(800, 4800, 48_000)


SAMPLES = [Sample(1000, 1.0, 50), Sample(2000, 2.0, 90), Sample(4000, 2.5, 70)]


@pytest.mark.parametrize(("at_ms", "wanted"), [(500, 1.0), (1000, 1.0), (1500, 1.5), (3000, 2.25), (9000, 2.5)])
def test_cpu_lies_on_the_line_between_samples(at_ms: float, wanted: float) -> None:
    assert cpu_at(SAMPLES, at_ms) == pytest.approx(wanted)


def test_figures_take_cpu_of_the_span_and_memory_of_the_run() -> None:
    taken = figures(Span(1500, 3000, 300_000), SAMPLES, Start(0.7))
    assert taken == Figures(rate=200_000, cpu_micros=pytest.approx(2.5), peak_mb=90, start=Start(0.7))


def test_median_is_taken_of_each_figure_by_itself() -> None:
    rounds = [Figures(100, 3, 10, Start(0.1)), Figures(300, 1, 20, Start(0.3)), Figures(200, 2, 60, Start(0.2))]
    assert median(rounds) == Figures(200, 2, 20, Start(0.2))
    assert spread(rounds) == pytest.approx(1.0)
