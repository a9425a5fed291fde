"""What the settings of a job decide about its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ferrisstreams.compile.message_rows import MessageForm
from ferrisstreams.compile.sizes import USUAL_SIZES, Sizes
from ferrisstreams.compile.stage import Retries
from ferrisstreams.formats.base import Decoder, Encoder


@dataclass(frozen=True, slots=True)
class InputSettings:
    """What settings decide about a source: how its records are decoded, how late its rows may be (microseconds), how
    far ahead of the clock, and how often one that fails is tried again."""

    decoder: Decoder
    allowed_lateness_us: int = 0
    max_ahead_us: int | None = None
    retries: Retries = lambda: iter(())


@dataclass(frozen=True, slots=True)
class CompileSettings:
    """What settings decide about a plan. `changelog` is None (choose), `append` or `retract`; `encoder` None: Arrow.

    `output_retries` are those of output rows. `messages` says how rows become messages; None: they are lines.
    """

    encoder: Encoder | None
    late_strategy: str = "drop"
    changelog: str | None = None
    output_retries: Retries = lambda: iter(())
    messages: MessageForm | None = None
    sizes: Sizes = USUAL_SIZES


#: Of each source of a job, by its name.
Inputs: TypeAlias = Mapping[str, InputSettings]
