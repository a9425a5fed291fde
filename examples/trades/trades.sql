-- One-minute bars over a million generated trades.

CREATE STREAM trades (
    id BIGINT, symbol TEXT, price DOUBLE, qty INTEGER, ts TIMESTAMP,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
    'connector' = 'datagen', 'rows' = 1000000, 'seed' = 7,
    'fields.id' = 'sequence:0',
    'fields.symbol' = 'choice:AAPL,AMZN,GOOG,META,MSFT,NVDA',
    'fields.price' = 'normal:100,15',
    'fields.qty' = 'uniform:1..500',
    'fields.ts' = 'time:2024-01-01+10ms'
);

CREATE STREAM bars WITH ('connector' = 'file', 'path' = 'out/bars.jsonl') AS
SELECT
    window_start, symbol, count(*) AS trades, sum(qty) AS volume,
    round(min(price), 2) AS low, round(max(price), 2) AS high
FROM trades
GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE);
