"""Sends letters of a file to a topic, each once, also when the process is killed in the middle.

Before a chunk is sent its token is in the journal; in the chunk's transaction it is committed to a group of its own. So
after a crash the group tells whether the transaction was committed: which of two systems is right is never guessed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ferrisstreams.connectors.kafka.producer import KafkaProducer, KafkaProducerSettings, properties_beside
from ferrisstreams.errors import ConnectorError
from ferrisstreams.runtime.faults import Faults
from ferrisstreams.session.dlq_journal import Journal, Replayed
from ferrisstreams.session.dlq_letters import REPLAYS_HEADER, Letter, LetterState

#: What is committed before the first chunk: a group without any token was forgotten by the brokers.
_NO_CHUNK = "none"


class TopicTarget:
    """A topic that records of letters are sent to; `name` is that of the transactions and of the group of their tokens.

    `properties` are those of the client that reads the topic. `keeps_time`: a record has the time of the first.
    """

    def __init__(self, properties: Mapping[str, str], topic: str, name: str, keeps_time: bool) -> None:
        self.topic = topic
        self._keeps_time = keeps_time
        own = properties_beside(properties)
        self._producer = KafkaProducer(KafkaProducerSettings(own, {topic: None}, name, name))
        self._begun = False

    def token(self) -> str | None:
        """That of the last chunk that was committed; None where the brokers know of none. Others at work are fenced.

        Raises ConnectorError.
        """
        if not self._begun:
            self._producer.init()
            self._begun = True
        return next((found.metadata for found in self._producer.committed().values()), None)

    def begin(self) -> None:
        """Before the first chunk: from now on there is a token. Raises ConnectorError."""
        if not self._begun and self.token() is None:
            self._commit((), _NO_CHUNK)

    def send(self, letters: Sequence[Letter], token: str) -> None:
        """The records of a chunk, in one transaction with its token. Raises ConnectorError."""
        self._commit(letters, token)

    def close(self) -> None:
        self._producer.close()

    def _commit(self, letters: Sequence[Letter], token: str) -> None:
        producer = self._producer
        producer.begin()
        try:
            if letters:
                headers = [(*one.original, (REPLAYS_HEADER, str(one.replays + 1).encode())) for one in letters]
                times = [one.record_time_ms for one in letters] if self._keeps_time else None
                values, keys = [one.value for one in letters], [one.key for one in letters]
                producer.write(self.topic, values, keys, headers, times)
                producer.flush()
            producer.send({}, 1, token)
        except ConnectorError:
            producer.abort()
            raise
        producer.commit()


#: The target of a topic's name.
Topics: TypeAlias = Callable[[str], TopicTarget]


def send_once(journal: Journal, target: TopicTarget, letters: Sequence[Letter], faults: Faults) -> None:
    """Send a chunk, and write down that it was sent. Raises ConnectorError: the next `settle_sending` says then whether
    it was."""
    target.begin()
    token = uuid.uuid4().hex
    unsure = [one.id for one in letters if one.state is LetterState.UNSURE]
    sent = [Replayed(one.id, target.topic, "", one.replays + 1) for one in letters]
    journal.begin_sending(target.topic, token, unsure, sent)
    faults.reach("after_replay_intent")
    target.send(letters, token)
    faults.reach("after_replay_write")
    journal.end_sending(LetterState.REPLAYED)


def settle_sending(journal: Journal, topics: Topics | None) -> None:
    """Bring a chunk that was cut off to its end. Without `topics`, or where the token was forgotten, nobody can say.

    Raises ConnectorError.
    """
    sending = journal.open_sending()
    if sending is None:
        return
    topic, token = sending
    found = None
    if topics is not None:
        target = topics(topic)
        try:
            found = target.token()
        finally:
            target.close()
    if found is None:
        journal.end_sending(LetterState.UNSURE)
    else:
        journal.end_sending(LetterState.REPLAYED if found == token else LetterState.WAITING)
