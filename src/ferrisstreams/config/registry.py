"""The one registry of configuration keys. Parsing, errors, origins and the reference page come from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ferrisstreams.config.kinds import (
    ANY_TEXT,
    CHARACTER,
    DURATION,
    FLAG,
    SIZE,
    TEXT,
    Kind,
    SettingValue,
    choice,
    integer,
    number,
)

MEGABYTE = 1 << 20


class Scope(Enum):
    """Where a key may stand: with a source, with a sink, or with a job (in the same `WITH` as its sink)."""

    SOURCE = "source"
    SINK = "sink"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Key:
    """A setting. `default` is typed (durations in ms, sizes in bytes; None: off or found out).

    `connectors` narrows it to some connectors, `formats` to some formats, `per_side` lets it also stand as
    `source.<key>` of a job, `of_sink` as `sink.<key>`; a name (or an alias) that ends in `*` stands for any name with
    that beginning. An exact name goes before one with a `*`. `aliases` are names that people bring from elsewhere;
    `ferris fmt` writes `name`. `overrides_both`: where it may stand on both sides, `--set` means both, and not the
    source alone; or the sink alone.
    """

    name: str
    kind: Kind
    default: SettingValue
    scopes: tuple[Scope, ...]
    sentence: str
    connectors: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    of_sink: bool = False
    formats: tuple[str, ...] = ()
    overrides_both: bool = False
    overrides_sink: bool = False

    @property
    def per_side(self) -> bool:
        return Scope.SOURCE in self.scopes and Scope.JOB in self.scopes


_SOURCE, _SINK, _JOB = (Scope.SOURCE,), (Scope.SINK,), (Scope.JOB,)
_SIDES = (Scope.SOURCE, Scope.SINK)
_TIMED = (Scope.SOURCE, Scope.JOB)

CONNECTOR_KEYS = (
    Key("connector", TEXT, None, _SIDES, "What the stream is connected to: file, kafka, datagen, memory, stdout, "
        "blackhole."),
    Key("format", TEXT, "json", _SIDES, "How a record is written: json (one object a line or message), csv, of a "
        "source json_array (a file is one array of objects), of a table debezium_json (an object of before, after and "
        "op). Default: as the file's name ends (.csv, .tsv), else json.", aliases=("value_format",)),
    Key("path", TEXT, None, _SIDES, "The file, relative to the application file; of a source also a glob; of a sink "
        "that rotates a pattern with {n} and parts of the time (%Y-%m-%d).", ("file",)),
    Key("watch", FLAG, False, _SOURCE, "Follow files as they grow and appear; without it the source is bounded.",
        ("file",), ("watching",)),
    Key("compression", choice("none", "gzip", "zstd"), None, _SIDES, "The compression codec of a file. Default: by its "
        "extension (.gz, .zst).", ("file",)),
    Key("encoding", choice("utf_8", "latin_1", "windows_1252", utf8="utf_8", iso_8859_1="latin_1", latin1="latin_1",
        cp1252="windows_1252"), "utf_8", _SOURCE, "The encoding of a file's text.", ("file",)),
    Key("mmap", FLAG, False, _SOURCE, "Read a file through a memory map.", ("file",)),
    Key("header", FLAG, True, _SIDES, "CSV: the first line of a file names the columns.", ("file", "stdout"),
        ("has_headers", "csv_has_header"), formats=("csv",)),
    Key("delimiter", CHARACTER, ",", _SIDES, "CSV: the field delimiter.", ("file", "kafka", "stdout"),
        ("csv_delimiter", "value_delimiter"), formats=("csv",), overrides_both=True),
    Key("quote", CHARACTER, '"', _SIDES, "CSV: the quote character.", ("file", "kafka", "stdout"),
        formats=("csv",), overrides_both=True),
    Key("nulls", ANY_TEXT, "", _SIDES, "CSV: the unquoted text that means NULL.", ("file", "kafka", "stdout"),
        formats=("csv",), overrides_both=True),
    Key("max.record.bytes", SIZE, 16 * MEGABYTE, _SOURCE, "A record larger than this is a row error.",
        ("file", "kafka")),
    Key("append", FLAG, False, _SINK, "A new job appends to what a file already holds.", ("file",),
        ("append_if_exists",)),
    Key("topic", TEXT, None, _SIDES, "The topic. Default: the name of the stream.", ("kafka",), ("kafka_topic",)),
    Key("bootstrap.servers", TEXT, None, _SIDES, "Addresses of brokers, host:port, separated by commas.", ("kafka",),
        ("brokers", "kafka.bootstrap.servers", "properties.bootstrap.servers"), overrides_both=True),
    Key("startup", TEXT, "earliest", _SOURCE, "Where a new job begins: earliest, latest, "
        "timestamp:2024-01-01T00:00:00Z (or milliseconds), offsets:0:42,1:7.", ("kafka",),
        ("scan.startup.mode", "auto.offset.reset", "kafka.auto.offset.reset", "properties.auto.offset.reset")),
    Key("group.id", TEXT, None, _SOURCE, "The group that the job's positions are committed to. No other consumer "
        "may be in it. Default: <application>.<job>.", ("kafka",), ("kafka.group.id", "properties.group.id")),
    Key("partitioned.by", TEXT, None, _SOURCE, "The columns, separated by commas, whose equal values are always in the "
        "same partition, NULL too (`_key`: the message key): what several workers may group by.", ("kafka",)),
    Key("key", TEXT, None, _SINK, "The column that becomes the message key. Default: PRIMARY KEY, else the GROUP BY "
        "columns, else the key of the source's message.", ("kafka",)),
    Key("create.topic", FLAG, False, _SIDES, "Create the topic if it does not exist.", ("kafka",),
        overrides_both=True),
    Key("partitions", integer(1, 100_000), 1, _SIDES, "create.topic: how many partitions a new topic gets.",
        ("kafka",), overrides_both=True),
    Key("kafka.*", ANY_TEXT, None, _SIDES, "A property of the client (librdkafka), passed on unchanged.", ("kafka",),
        ("properties.*",), overrides_both=True),
    Key("rotate.rows", integer(1), None, _SINK, "Start a new file after this many rows; the path has {n} in it.",
        ("file",), ("max_records_per_file",)),
    Key("rotate.bytes", SIZE, None, _SINK, "Start a new file after this many bytes of rows, before compression.",
        ("file",), ("max_file_size_bytes",)),
    Key("rotate.interval", DURATION, None, _SINK, "Start a new file this long after the first row of the current one.",
        ("file",), ("rotation_interval_ms",)),
    Key("rows", integer(0), None, _SOURCE, "How many rows to generate; without it, the stream is endless.",
        ("datagen",)),
    Key("rate", number(0.001, 1e9), None, _SOURCE, "Rows per second; without it, as fast as they are taken.",
        ("datagen",)),
    Key("seed", integer(0), 0, _SOURCE, "The same seed generates the same rows.", ("datagen",)),
    Key("fields.*", TEXT, None, _SOURCE, "How a column is generated: sequence:0, uniform:1..100, choice:A,B*3 (B "
        "three times as often), normal:10,2, exponential:10 (the mean), zipf:1.1,1000 (exponent, ranks), constant:x, "
        "uuid, now, time:2024-01-01+10ms, template:user-{sequence:1}-{choice:a,b}.", ("datagen",)),
    Key("changelog", choice("append", "retract", "upsert", "debezium"), None, _SIDES, "How changes are written: append "
        "(new values only), retract (a column op with +I -U +U -D), to a topic also upsert (a message with the row's "
        "key, without a value when the row disappears) or debezium (an object of before, after and op). Default: "
        "upsert on Kafka where the result changes and has a key; else append unless rows can disappear. Of a table's "
        "source: how they are read. Default: upsert.", overrides_sink=True),
)  # fmt: skip

TIME_KEYS = (
    Key("event.time.field", TEXT, None, _SOURCE, "The column that holds the event time.",
        aliases=("timestamp",)),
    Key("event.time.format", TEXT, None, _SOURCE, "How the event time is written: iso8601, epoch_seconds, "
        "epoch_millis, epoch_micros or a strptime pattern. Default: ISO 8601 text."),
    Key("timestamp.format", TEXT, None, _SOURCE, "The same for all TIMESTAMP columns."),
    Key("watermark.strategy", choice("bounded_out_of_orderness", "ascending"), None, _SOURCE,
        "How the watermark follows the event time."),
    Key("watermark.max_out_of_orderness", DURATION, None, _SOURCE, "How far behind the greatest event time the "
        "watermark stays."),
    Key("watermark.idle_timeout", DURATION, None, _SOURCE, "A partition that is caught up and silent for this long no "
        "longer holds the watermark back; of partitions that are all silent the furthest counts. Default: off."),
    Key("watermark.max_ahead", DURATION, None, _SOURCE, "A row further ahead of the clock than this is a row error. "
        "Default: off."),
    Key("allowed.lateness", DURATION, 0.0, _TIMED, "How long after its end a window still takes rows."),
    Key("late.data.strategy", choice("drop", "dead_letter", "update",
        update_previous="update", update_previous_window="update"), "drop", _TIMED, "What becomes of late rows: "
        "counted, counted and kept as dead letters, or windows emitted again within the allowed lateness."),
)  # fmt: skip

#: A key of the batch may also stand under `sink.batch.`: a job has one batching, which is written with its sink. Where
#: the source has its own, the sink's says how the sink fills its batches.
BATCH_KEYS = (
    Key("batch.enable", FLAG, True, _TIMED, "false: one row a batch.",
        aliases=("sink.batch.enable",)),
    Key("batch.strategy", choice("fixed_size", "time_window", "adaptive_size", "memory_based", "low_latency",
        fixedsize="fixed_size", timewindow="time_window", adaptivesize="adaptive_size", memorybased="memory_based",
        lowlatency="low_latency", count_based="fixed_size", time_based="time_window"), None,
        _TIMED, "What ends a batch. Default: the one that has the given keys; memory_based for bounded files and "
        "topics, fixed_size elsewhere.",
        aliases=("sink.batch.strategy",)),
    Key("batch.size", integer(1), 10_000, _TIMED, "fixed_size: rows in a batch.",
        aliases=("sink.batch.size", "max_batch_size")),
    Key("batch.timeout", DURATION, 100.0, _TIMED, "fixed_size, adaptive_size, memory_based: the longest wait. Default "
        "of a topic whose strategy is not named: 10ms.",
        aliases=("sink.batch.timeout", "batch_timeout")),
    Key("batch.window", DURATION, 100.0, _TIMED, "time_window: how long a batch collects.",
        aliases=("sink.batch.window",)),
    Key("batch.max_size", integer(1), None, _TIMED, "Rows in a batch at most. Default: 100,000; low_latency 500.",
        aliases=(
            "sink.batch.max_size", "batch.adaptive_max_size", "sink.batch.adaptive_max_size",
            "batch.low_latency_max_size", "sink.batch.low_latency_max_size",
        )),
    Key("batch.min_size", integer(1), 100, _TIMED, "adaptive_size: rows in a batch at least.",
        aliases=("sink.batch.min_size",)),
    Key("batch.target_latency", DURATION, 50.0, _TIMED, "adaptive_size: how long a batch should take.",
        aliases=("sink.batch.target_latency",)),
    Key("batch.memory_size", SIZE, None, _TIMED, "memory_based: bytes in a batch. Default: 4MB; 6MB as the default "
        "strategy of bounded files whose job keeps state.",
        aliases=("sink.batch.memory_size",)),
    Key("batch.wait", DURATION, 1.0, _TIMED, "low_latency: the wait after the first row.",
        aliases=("sink.batch.wait", "batch.low_latency_wait", "sink.batch.low_latency_wait", "batch.max_wait_time")),
    Key("batch.eager", FLAG, True, _TIMED, "low_latency: take at once what is there.",
        aliases=("sink.batch.eager", "batch.eager_processing", "sink.batch.eager_processing")),
)  # fmt: skip

JOB_KEYS = (
    Key("job.mode", choice("exactly_once", "at_least_once", transactional="exactly_once", simple="at_least_once"), None,
        _JOB, "Delivery. Default: exactly_once where the sink can take back what it wrote.",
        aliases=("mode",)),
    Key("commit.policy", choice("per_record", "per_batch", "hybrid"), "hybrid", _JOB, "When an epoch ends: after each "
        "row, after each batch, or when the source has nothing more queued and at the interval at the latest."),
    Key("commit.interval", DURATION, 1_000.0, _JOB, "hybrid: the longest epoch."),
    Key("commit.heartbeat", DURATION, 3_600_000.0, _JOB, "How often an idle job commits its positions again, so that "
        "the broker does not forget them."),
    Key("commit.rows", integer(1), None, _JOB, "hybrid: the most rows of an epoch."),
    Key("dlq.path", TEXT, None, _JOB, "The file of dead letters. Default, where neither source nor sink is Kafka: "
        "<application>.<job>.dlq.jsonl beside the sink."),
    Key("dlq.topic", TEXT, None, _JOB, "The topic of dead letters. Default, where sink or source is Kafka: "
        "<application>.<job>.dlq; it is created if it does not exist. It is on the cluster of the sink, or, where rows "
        "go elsewhere, on that of the source, whose transactions then decide."),
    Key("dlq.max_ratio", number(0, 1), None, _JOB, "The job fails when more than this part of the rows read has "
        "failed. Default: off."),
    Key("dlq.max_consecutive", integer(1), 1_000, _JOB, "The job fails when this many rows in a row become dead "
        "letters."),
    Key("dlq.max_replays", integer(0), 3, _JOB, "A record that became a dead letter again after this many replays is "
        "quarantined: ferris dlq replay skips it."),
    Key("parallelism", integer(1, 1024), 1, _JOB, "How many worker processes share the partitions of the job's topic. "
        "`ferris run` starts them."),
    Key("state.dir", TEXT, None, _JOB, "Where state is kept. Default: .ferris beside the application file."),
    Key("memory.limit", SIZE, None, _JOB, "Memory of the engine. Default: 80 % of the machine's."),
)  # fmt: skip

FAILURE_KEYS = (
    Key("failure_strategy", choice("log_and_continue", "send_to_dlq", "fail_batch", "retry_with_backoff",
        send_to_d_l_q="send_to_dlq", sendtodlq="send_to_dlq", send_to_dlq="send_to_dlq"),
        "log_and_continue", _TIMED, "What becomes of a row that fails.", of_sink=True,
        aliases=("failure.strategy",)),
    Key("max_retries", integer(0, 1000), 3, _TIMED, "How often the job tries again when an outside system has failed; "
        "retry_with_backoff: how often a failing row is tried again.", of_sink=True,
        aliases=("retry.attempts",)),
    Key("retry_backoff", DURATION, 1_000.0, _TIMED, "The first wait before something is tried again, doubled each "
        "time; a part of it, drawn by chance, is waited.", of_sink=True),
    Key("retry_backoff.max", DURATION, 60_000.0, _TIMED, "The longest such wait.", of_sink=True),
    Key("on.exhausted", choice("dlq", "fail", "skip"), "dlq", _TIMED, "retry_with_backoff: what becomes of a row when "
        "the retries are spent.", of_sink=True),
    Key("circuit.failure_threshold", integer(1), 5, _TIMED, "Failures in a row after which the circuit breaker of a "
        "connector opens: the job is paused.", of_sink=True),
    Key("circuit.failure_rate", number(0.01, 1), 0.5, _TIMED, "The breaker also opens when this part of the last calls "
        "(ten at least) has failed.", of_sink=True),
    Key("circuit.window", DURATION, 60_000.0, _TIMED, "How far back calls count for the rate.", of_sink=True),
    Key("circuit.recovery_timeout", DURATION, 30_000.0, _TIMED, "How long an open breaker pauses the job before it "
        "tries again.", of_sink=True),
    Key("circuit.success_threshold", integer(1), 3, _TIMED, "Successes after which a breaker that tries again is "
        "closed.", of_sink=True),
)  # fmt: skip

KEYS: tuple[Key, ...] = CONNECTOR_KEYS + TIME_KEYS + BATCH_KEYS + FAILURE_KEYS + JOB_KEYS


def keys_of(scope: Scope, connector: str | None) -> Iterator[Key]:
    """The keys that may stand at `scope` for `connector` (None: for any)."""
    for key in KEYS:
        if scope in key.scopes and (connector is None or not key.connectors or connector in key.connectors):
            yield key
