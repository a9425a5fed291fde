-- One billion rows, a small edition: the lowest, mean and highest temperature of every station.
CREATE STREAM measurements (station TEXT NOT NULL, temperature DOUBLE NOT NULL)
WITH ('connector' = 'file', 'path' = 'measurements.txt', 'format' = 'csv', 'header' = false, 'delimiter' = ';');

CREATE STREAM stations WITH ('connector' = 'file', 'path' = 'stations.jsonl') AS
SELECT station, min(temperature) AS lowest, round(avg(temperature), 1) AS mean, max(temperature) AS highest
FROM measurements
GROUP BY station
EMIT FINAL;
