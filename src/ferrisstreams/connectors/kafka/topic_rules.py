"""What a topic takes: records with a key, and of which size.

A broker measures the batch that a record comes in, as it is packed. A record that is too large for any other company
goes alone. Its size is found by packing it as the client does: asking the broker would cost the transaction.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ferrisstreams.batch import Headers

#: A batch without records, and the lengths and flags of its only record, generously (Kafka protocol, record batch v2).
_BATCH_BYTES = 61
_RECORD_OVERHEAD_BYTES = 35
#: A header of a record has two lengths.
_HEADER_OVERHEAD_BYTES = 10
#: What the client's packing may take more than ours, which is by other builds of the same libraries: one part of these.
_PACKING_MARGIN = 32
#: The client packs with independent blocks of this size; a frame has a head and an end, a block its length.
_LZ4_BLOCK_BYTES = 64 * 1024
_LZ4_FRAME_BYTES = 15
_LZ4_LENGTH_BYTES = 4
#: `compression.level` of the client when it is to choose, and what it chooses then.
_LEVEL_CHOSEN = -1
_ZSTD_LEVEL = 3
#: What a topic takes where the cluster does not say.
_USUAL_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """A topic's own settings; what the cluster does not tell is None (and not compacted).

    `compression`: how the topic recompresses its records; None: they stay as they come.
    """

    message_bytes_max: int | None = None
    compacted: bool = False
    compression: str | None = None


@dataclass(frozen=True, slots=True)
class TopicRules:
    """What one topic takes of one client. `bytes_max` is the topic's limit, `client_bytes_max` the client's, which
    counts before it packs; `codecs` are those in which a batch must fit, `level` is the client's."""

    topic: str
    compacted: bool
    bytes_max: int
    client_bytes_max: int
    codecs: tuple[str, ...] = ("none",)
    level: int = _LEVEL_CHOSEN

    @property
    def surely_taken_bytes(self) -> int:
        """Value, key and headers of a record that is taken however it is packed."""
        return min(self.bytes_max - _BATCH_BYTES - _RECORD_OVERHEAD_BYTES, self.client_bytes_max)

    def excess(self, value: bytes | None, key: bytes | None, headers: Headers) -> str | None:
        """Why a record is too large, in words; None: it is not."""
        data = b"".join(
            (key or b"", value or b"", *(part for name, held in headers for part in (name.encode(), held or b"")))
        )
        if len(data) > self.client_bytes_max:
            limit = f"{self.client_bytes_max} that the client takes (kafka.message.max.bytes)"
            return f"the record has {len(data)} bytes, more than the {limit}"
        for codec in self.codecs:
            plain = len(data) + _HEADER_OVERHEAD_BYTES * len(headers)
            packed = plain if codec == "none" else min(plain, _with_margin(_packed_bytes(data, codec, self.level)))
            taken = packed + _BATCH_BYTES + _RECORD_OVERHEAD_BYTES
            if taken > self.bytes_max:
                size = f"{taken} bytes" if codec == "none" else f"{taken} bytes compressed with {codec}"
                limit = f"{self.bytes_max} that the topic {self.topic} takes (max.message.bytes)"
                return f"the record has {size}, more than the {limit}"
        return None


def rules_of(topic: str, found: TopicSettings, properties: Mapping[str, str], client_bytes_max: int) -> TopicRules:
    """Of a topic with these settings and a client with these properties."""
    own = properties.get("compression.codec") or properties.get("compression.type") or "none"
    codecs = [own] if found.compression is None else [own, found.compression]
    return TopicRules(
        topic,
        found.compacted,
        found.message_bytes_max if found.message_bytes_max is not None else min(client_bytes_max, _USUAL_BYTES_MAX),
        client_bytes_max,
        tuple(dict.fromkeys(codecs)),
        int(properties.get("compression.level", _LEVEL_CHOSEN)),
    )


def settings_of(entries: Mapping[str, str | None]) -> TopicSettings:
    """Out of a topic's settings as the cluster tells them."""
    most, policy, packed = (entries.get(name) for name in ("max.message.bytes", "cleanup.policy", "compression.type"))
    again = {"producer": None, "uncompressed": "none"}
    return TopicSettings(
        int(most) if most is not None else None,
        "compact" in _words(policy or ""),
        again.get(packed, packed) if packed is not None else None,
    )


def _words(text: str) -> Iterable[str]:
    return (word.strip() for word in text.split(","))


def _with_margin(size: int) -> int:
    return size + size // _PACKING_MARGIN


def _packed_bytes(data: bytes, codec: str, level: int) -> int:
    """The size of these bytes, packed."""
    # Imported where it is used: most jobs never see a record of this size.
    import pyarrow as pa

    match codec:
        case "gzip":
            packer = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
            return len(packer.compress(data)) + len(packer.flush())
        case "zstd":
            zstd = pa.Codec("zstd", compression_level=_ZSTD_LEVEL if level == _LEVEL_CHOSEN else level)
            return len(zstd.compress(data, asbytes=True))
        case "lz4":
            lz4 = pa.Codec("lz4_raw")
            blocks = (data[start : start + _LZ4_BLOCK_BYTES] for start in range(0, len(data), _LZ4_BLOCK_BYTES))
            packed = (min(len(block), len(lz4.compress(block, asbytes=True))) for block in blocks)
            return _LZ4_FRAME_BYTES + sum(_LZ4_LENGTH_BYTES + size for size in packed)
        case _:
            return len(pa.compress(data, codec, asbytes=True))
