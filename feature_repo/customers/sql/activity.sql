-- A customer so far, as known on a Monday at four: every Monday from the first purchase to the end of the book.
-- Spans count delivered days; a Monday's own purchases are delivered after it. Money is summed as decimals: exact in any order.
WITH mondays AS (
    SELECT customer_id, day, as_of
    FROM (SELECT customer_id, min(delivered_on) AS since FROM purchases GROUP BY ALL)
    JOIN calendar ON day >= since AND day <= (SELECT max(delivered_on) FROM purchases)
), days AS (
    SELECT customer_id, delivered_on AS day, bought_on, cds, spent, NULL::TIMESTAMPTZ AS as_of FROM purchases
    UNION ALL
    SELECT customer_id, day, NULL, NULL, NULL, as_of FROM mondays
), so_far AS (
    SELECT
        customer_id,
        day,
        as_of,
        count(bought_on) OVER always AS purchases_total,
        count(bought_on) OVER last_28 AS purchases_28d,
        count(bought_on) OVER last_91 AS purchases_91d,
        count(bought_on) OVER last_182 AS purchases_182d,
        sum(cds) OVER always AS cds_total,
        sum(cds) OVER last_91 AS cds_91d,
        sum(spent) OVER always AS spent_total,
        sum(spent) OVER last_91 AS spent_91d,
        max(spent) OVER always AS spent_most,
        first_value(spent IGNORE NULLS) OVER always AS spent_first,
        last_value(spent IGNORE NULLS) OVER always AS spent_last,
        min(bought_on) OVER always AS first_on,
        max(bought_on) OVER always AS last_on
    FROM days
    WINDOW
        customer AS (PARTITION BY customer_id ORDER BY day),
        always AS (customer RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
        last_28 AS (customer RANGE BETWEEN INTERVAL 27 DAY PRECEDING AND CURRENT ROW),
        last_91 AS (customer RANGE BETWEEN INTERVAL 90 DAY PRECEDING AND CURRENT ROW),
        last_182 AS (customer RANGE BETWEEN INTERVAL 181 DAY PRECEDING AND CURRENT ROW)
    QUALIFY as_of IS NOT NULL
)
SELECT
    customer_id,
    as_of AS event_timestamp,
    as_of AS created_timestamp,
    day - last_on AS days_since_last,
    day - first_on AS days_since_first,
    purchases_total,
    purchases_28d,
    purchases_91d,
    purchases_182d,
    coalesce(cds_total, 0)::BIGINT AS cds_total,
    coalesce(cds_91d, 0)::BIGINT AS cds_91d,
    spent_total::DOUBLE AS spent_total,
    coalesce(spent_91d, 0)::DOUBLE AS spent_91d,
    (spent_total / purchases_total)::DOUBLE AS spent_per_purchase,
    spent_most::DOUBLE AS spent_most,
    spent_first::DOUBLE AS spent_first,
    spent_last::DOUBLE AS spent_last,
    (last_on - first_on) / nullif(purchases_total - 1, 0) AS days_between,
    (day - last_on) * (purchases_total - 1) / nullif(last_on - first_on, 0) AS overdue
FROM so_far
