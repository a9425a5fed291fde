"""The dead letters of a job: read, replayed, purged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ferrisstreams.session.dlq_filter import LetterFilter
from ferrisstreams.session.dlq_letters import Letter, LetterState, LetterStore


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """`replayed` letters went to `target` (in a dry run: would go); `left` says why others did not, and how many."""

    job: str
    target: str
    replayed: int
    left: Mapping[str, int]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class PurgeReport:
    job: str
    purged: int
    dry_run: bool


#: Why a letter is not replayed, by what it is.
_OUTPUT = "an output row: it has no record that could go back to the source"
_TRUNCATED = "only the beginning of the record was kept, because it is larger than the limit"
_REPLAYED = "was replayed before"
_UNSURE = "a replay was cut off, and its target does not say what came of it: look there, then choose --state unsure"


@dataclass(slots=True)
class DeadLetterQueue:
    """The letters of one job. `replays_max`: a record replayed so often is quarantined when it comes back."""

    job: str
    store: LetterStore
    replays_max: int
    _left: Counter[str] = field(default_factory=Counter)

    def letters(self, wanted: LetterFilter) -> Iterator[Letter]:
        """The letters that are meant, oldest first, with the state that they are in."""
        return wanted.select(map(self._judged, self.store.letters()))

    def replay(self, wanted: LetterFilter, target: str, dry_run: bool) -> ReplayReport:
        """Send the letters that are meant and can be sent, each once."""
        self._left.clear()
        unsure_meant = LetterState.UNSURE in wanted.states
        sendable = self._sendable(self.letters(wanted), unsure_meant)
        count = sum(1 for _ in sendable) if dry_run else self.store.replay(sendable)
        return ReplayReport(self.job, target, count, dict(self._left), dry_run)

    def purge(self, wanted: LetterFilter, dry_run: bool) -> PurgeReport:
        """Erase the letters that are meant, for good."""
        found = self.letters(wanted)
        count = sum(1 for _ in found) if dry_run else self.store.purge(found)
        return PurgeReport(self.job, count, dry_run)

    def close(self) -> None:
        self.store.close()

    # --- private ----------------------------------------------------------------------------------------------------

    def _judged(self, letter: Letter) -> Letter:
        if letter.state is LetterState.WAITING and letter.replays >= self.replays_max:
            return replace(letter, state=LetterState.QUARANTINED)
        return letter

    def _sendable(self, letters: Iterable[Letter], unsure_meant: bool) -> Iterator[Letter]:
        for letter in letters:
            reason = self._reason_to_stay(letter, unsure_meant)
            if reason is None:
                yield letter
            else:
                self._left[reason] += 1

    def _reason_to_stay(self, letter: Letter, unsure_meant: bool) -> str | None:
        if letter.kind in ("output", "derived"):
            return _OUTPUT
        if letter.header("ferris.value.truncated"):
            return _TRUNCATED
        match letter.state:
            case LetterState.REPLAYED:
                return _REPLAYED
            case LetterState.QUARANTINED:
                return f"quarantined: it came back after {letter.replays} replays (dlq.max_replays)"
            case LetterState.UNSURE if not unsure_meant:
                return _UNSURE
        return self.store.refusal(letter)
