-- A customer so far, as known at six: every morning from the first order to the end of the book.
-- `calendar` holds every moment at which this table speaks: (day, as_of). A day's own orders are delivered after its morning.
WITH mornings AS (
    SELECT customer, day, as_of
    FROM (SELECT customer, min(delivered_on) AS since FROM orders GROUP BY ALL)
    JOIN calendar ON day >= since AND day <= (SELECT max(delivered_on) FROM orders)
), days AS (
    SELECT customer, delivered_on AS day, ordered_on, amount, channel = 'web' AS web, NULL::TIMESTAMPTZ AS as_of FROM orders
    UNION ALL
    SELECT customer, day, NULL, NULL, NULL, as_of FROM mornings
)
SELECT
    customer,
    as_of AS event_timestamp,
    as_of AS created_timestamp,
    day - max(ordered_on) OVER always AS days_since_last,
    day - min(ordered_on) OVER always AS days_since_first,
    count(ordered_on) OVER last_7 AS orders_7d,
    count(ordered_on) OVER last_28 AS orders_28d,
    count(ordered_on) OVER always AS orders_total,
    count(*) FILTER (web) OVER always / count(ordered_on) OVER always AS web_share,
    (sum(amount) OVER always / count(ordered_on) OVER always)::DOUBLE AS mean_amount
FROM days
WINDOW
    customers AS (PARTITION BY customer ORDER BY day),
    always AS (customers RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
    last_7 AS (customers RANGE BETWEEN INTERVAL 6 DAY PRECEDING AND CURRENT ROW),
    last_28 AS (customers RANGE BETWEEN INTERVAL 27 DAY PRECEDING AND CURRENT ROW)
QUALIFY as_of IS NOT NULL
