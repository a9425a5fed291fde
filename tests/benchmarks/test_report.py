"""The page of the benchmark over Kafka leaves no gap: what could not be measured says so."""

from __future__ import annotations

from benchmarks.kafka.figures import Figures, Start
from benchmarks.kafka.install import InstallError, remembered
from benchmarks.kafka.latency import Latency
from benchmarks.kafka.plan import FULL
from benchmarks.kafka.report import Circumstances, page
from benchmarks.kafka.results import Results, Row, Section
from benchmarks.kafka.run import RunError
from benchmarks.kafka.systems import FLINK, OURS, OURS_PLAIN, QUIX

IDLE = Circumstances("Measured from noon", [1.0, 2.0, 9.0], 2)


def row_of(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_row_has_the_medians_of_its_rounds() -> None:
    taken = [
        Figures(400_000, 2.04, 100, Start(0.5)),
        Figures(500_000, 2.0, 300, Start(0.7)),
        Figures(600_000, 2.2, 200, Start(0.6)),
    ]
    results = Results(rates=[Section("F", [Row(OURS, 3_000_000, taken)])])
    wanted = ["FerrisStreams", "exactly once", "3,000,000", "3", "500", "40 %", "2.0", "200", "0.6"]
    assert row_of(page(results, FULL, IDLE), "FerrisStreams") == wanted


def test_row_of_a_slow_system_keeps_its_digits() -> None:
    results = Results(rates=[Section("F", [Row(OURS, 1000, [Figures(130, 7000, 100, Start(0.5))])])])
    assert row_of(page(results, FULL, IDLE), "FerrisStreams")[4] == "0.13"


def test_cut_round_is_marked() -> None:
    taken = [Figures(100_000, 7.0, 100, Start(0.5)), Figures(100_000, 7.0, 100, Start(0.5, whole=False))]
    assert row_of(page(Results(rates=[Section("F", [Row(OURS, 1000, taken)])]), FULL, IDLE), "FerrisStreams")[2] == (
        "1,000, cut"
    )


def test_system_that_cannot_be_measured_keeps_its_row() -> None:
    absent: Row[Figures] = Row(FLINK, 1000)
    wrong: Row[Figures] = Row(QUIX, 1000)

    def refuse() -> Figures:
        raise InstallError("pip ended with 1 | no network")

    def give_a_wrong_answer() -> Figures:
        raise RunError("wrong: 3 of 9 rows are missing\nand the log")

    absent.attempt(refuse)
    wrong.attempt(give_a_wrong_answer)
    assert wrong.attempt(give_a_wrong_answer).startswith("skipped")
    text = page(Results(rates=[Section("F", [absent, wrong, Row(OURS, 1000)])]), FULL, IDLE)
    assert row_of(text, "Flink SQL")[2] == "not installed: pip ended with 1 / no network"
    assert row_of(text, "Quix Streams")[2] == "wrong: 3 of 9 rows are missing"
    assert row_of(text, "FerrisStreams")[2] == "not reached"


def test_wrong_round_takes_the_figures_of_the_others_away() -> None:
    row = Row(OURS, 1000, [Figures(1, 1, 1, Start(1))], "wrong: 1 of 2 rows are missing")
    assert "wrong" in row_of(page(Results(rates=[Section("F", [row])]), FULL, IDLE), "FerrisStreams")[2]


def test_latency_of_transactions_is_the_difference_to_without() -> None:
    rows = [Row(OURS, 0, [Latency(1000, 12.4, 40, True)]), Row(OURS_PLAIN, 0, [Latency(1000, 8.0, 45, True)])]
    lines = [line for line in page(Results(latencies=rows), FULL, IDLE).splitlines() if line.startswith("| Ferris")]
    assert [line.split("|")[4:9] for line in lines] == [
        [" 12.4 ", " 40.0 ", " yes ", " +4.4 ", " -5.0 "],
        [" 8.0 ", " 45.0 ", " yes ", "  ", "  "],
    ]


def test_latency_of_a_system_that_falls_behind_is_not_compared() -> None:
    rows = [Row(OURS, 0, [Latency(1000, 900.0, 990, False)]), Row(OURS_PLAIN, 0, [Latency(1000, 8.0, 45, True)])]
    line = next(line for line in page(Results(latencies=rows), FULL, IDLE).splitlines() if line.startswith("| Ferris"))
    assert line.split("|")[6:9] == [" no ", "  ", "  "]


def test_section_that_was_not_reached_says_so() -> None:
    assert page(Results(), FULL, IDLE).count("Not reached.") == 2


def test_page_owns_up_to_a_busy_machine() -> None:
    assert "not idle" not in page(Results(), FULL, IDLE)
    assert "not idle" in page(Results(), FULL, Circumstances("Measured from noon", [9.0, 9.5, 1.0], 2))


def test_refused_installation_is_not_tried_again() -> None:
    tries: list[int] = []

    def install() -> int:
        tries.append(1)
        raise InstallError("no")

    ask = remembered(install)
    said = []
    for _ in range(2):
        try:
            ask()
        except InstallError as absent:
            said.append(str(absent))
    assert (said, tries) == (["no", "no"], [1])
