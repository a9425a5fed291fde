-- Orders, customers and payments: a stream that meets a table, two streams matched in time, totals that are kept.
-- `make demo-kafka` starts a broker, fills the topics and runs this; the broker's address comes from the command line.

CREATE TABLE customers (id TEXT, name TEXT, country TEXT, PRIMARY KEY (id))   -- id is the key of the message
WITH ('connector' = 'kafka', 'topic' = 'shop.customers', 'format' = 'json');

CREATE STREAM orders (
    id BIGINT, customer TEXT, placed_at TIMESTAMP, amount DECIMAL(10, 2),
    WATERMARK FOR placed_at AS placed_at - INTERVAL '10' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'shop.orders', 'format' = 'json');

CREATE STREAM payments (
    order_id BIGINT, paid_at TIMESTAMP, amount DECIMAL(10, 2),
    WATERMARK FOR paid_at AS paid_at - INTERVAL '10' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'shop.payments', 'format' = 'json');

-- Each order with its customer, as the table has it when the order comes.
CREATE STREAM enriched WITH ('connector' = 'kafka', 'topic' = 'shop.enriched', 'create.topic' = 'true') AS
SELECT o.id, o.placed_at, o.amount, c.name, c.country
FROM orders o LEFT JOIN customers c ON o.customer = c.id;

-- Each order with what was paid for it within two minutes; without, when no payment can come any more.
CREATE STREAM settled WITH ('connector' = 'kafka', 'topic' = 'shop.settled', 'create.topic' = 'true') AS
SELECT o.id, o.customer, o.amount, p.paid_at, p.amount AS paid
FROM orders o LEFT JOIN payments p
    ON o.id = p.order_id AND p.paid_at BETWEEN o.placed_at AND o.placed_at + INTERVAL '2' MINUTE;

-- The revenue of each customer: the last message of a key holds.
CREATE TABLE totals WITH ('connector' = 'kafka', 'topic' = 'shop.totals', 'create.topic' = 'true') AS
SELECT customer, count(DISTINCT id) AS orders, sum(paid) AS revenue FROM settled GROUP BY customer;

-- That of each country, over a join of two tables: it moves with a customer, and a country without revenue is deleted.
CREATE TABLE countries WITH ('connector' = 'kafka', 'topic' = 'shop.countries', 'create.topic' = 'true') AS
SELECT c.country, count(*) AS customers, sum(t.revenue) AS revenue
FROM totals t JOIN customers c ON t.customer = c.id
GROUP BY c.country
HAVING sum(t.revenue) > 0;
