-- Orders of a minute by shop, from one topic to another, exactly once.
-- `make demo-kafka` starts a broker, fills the topic and runs this; the broker's address comes from the command line.

CREATE STREAM orders (
    ordered_at TIMESTAMP, shop TEXT, amount DECIMAL(10, 2),
    WATERMARK FOR ordered_at AS ordered_at - INTERVAL '10' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'orders', 'format' = 'json');

CREATE STREAM turnover WITH (
    'connector' = 'kafka', 'topic' = 'turnover', 'create.topic' = 'true', 'failure_strategy' = 'send_to_dlq'
) AS
SELECT window_start, shop, count(*) AS orders, sum(amount) AS amount
FROM orders
GROUP BY shop, TUMBLE(ordered_at, INTERVAL '1' MINUTE);
