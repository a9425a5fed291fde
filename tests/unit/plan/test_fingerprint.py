"""The hash of older states is what it was: by it they are recognised."""

from __future__ import annotations

from ferrisstreams.plan.fingerprint import fingerprint
from ferrisstreams.sql.application import parse_application

TEXT = (
    "CREATE STREAM t (a INT, b VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (path = 'x');"
    "SELECT b, count(*) AS n, sum(a) AS total FROM t WHERE a > 1 GROUP BY b, TUMBLE(ts, 1m)"
)


def test_fingerprint_is_stable_over_versions() -> None:
    plan = parse_application(TEXT, "app.sql").jobs[0].plan
    assert fingerprint(plan) == "931739e1d622199072a29cf9a8b6ecb3d530267ab4c0da0fb23868880fc409a2"
