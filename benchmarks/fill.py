"""Fill a topic with the lines of a file, each the JSON text of a value, in a process that need not stay small.

python -m benchmarks.fill BOOTSTRAP TOPIC PATH
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ferrisstreams.connectors.kafka.records import Record
from tests.topic_records import write_records


def main() -> None:
    bootstrap, topic, path = sys.argv[1:]
    with Path(path).open() as lines:
        values = (json.loads(line) for line in lines)
        records = (Record(None if value is None else value.encode()) for value in values)
        write_records({"bootstrap.servers": bootstrap}, topic, records)
    print("{}")


if __name__ == "__main__":
    main()
