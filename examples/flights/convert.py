"""Make `flights.csv` from `flights-20k.json` of the npm package `vega-datasets`: see README.md.

npm pack vega-datasets@3.2.1 && tar xzf vega-datasets-3.2.1.tgz
python convert.py package/data/flights-20k.json > flights.csv
"""

from __future__ import annotations

import csv
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path


def main(path: str) -> None:
    """Rows in the order in which they became known: `date` plus `delay`, so that event time is out of order."""
    flights = json.loads(Path(path).read_text("utf-8"))
    rows = []
    for flight in flights:
        ts = datetime.strptime(flight["date"], "%Y/%m/%d %H:%M")
        known = ts + timedelta(minutes=max(0, flight["delay"]))
        rows.append((known, ts, flight["origin"], flight["destination"], flight["distance"], flight["delay"]))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("ts", "origin", "destination", "distance", "delay"))
    for _, ts, *others in sorted(rows):
        writer.writerow((ts.isoformat(timespec="minutes"), *others))


if __name__ == "__main__":
    main(sys.argv[1])
