-- Which airports had a bad day? From 20,000 real flights, in the order in which their delays became known.

CREATE STREAM flights (
    ts TIMESTAMP, origin TEXT, destination TEXT, distance INTEGER, delay INTEGER,
    WATERMARK FOR ts AS ts - INTERVAL '30' MINUTE          -- a flight that comes later than this is late
) WITH ('connector' = 'file', 'path' = 'flights.csv', 'format' = 'csv');

CREATE STREAM bad_days WITH ('connector' = 'file', 'path' = 'out/bad_days.jsonl') AS
SELECT
    CAST(window_start AS DATE) AS day,
    origin,
    count(*) AS flights,
    round(avg(delay), 1) AS mean_delay,
    max(delay) AS worst_delay,
    count(*) FILTER (WHERE delay > 60) AS over_an_hour
FROM flights
GROUP BY origin, TUMBLE(ts, INTERVAL '1' DAY)
HAVING count(*) >= 10 AND avg(delay) > 45;
