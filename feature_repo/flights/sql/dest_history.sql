-- How an airport did lately, as a place to arrive at from New York, as known at four in the morning:
-- sums over the last 1, 7 and 28 nightly deliveries.
WITH nights AS (
    SELECT
        dest,
        delivered_on AS day,
        count(*) AS flights,
        count(*) FILTER (late) AS late,
        count(*) FILTER (cancelled) AS cancelled,
        count(arrival_delay) AS arrived,
        sum(arrival_delay) AS delay
    FROM outcomes
    GROUP BY ALL
), mornings AS (
    SELECT DISTINCT dest, flight_day AS day, event_timestamp FROM schedule
)
SELECT
    dest,
    event_timestamp,
    event_timestamp AS created_timestamp,
    sum(late) OVER last_1 / sum(flights) OVER last_1 AS dest_late_share_1d,
    sum(late) OVER last_7 / sum(flights) OVER last_7 AS dest_late_share_7d,
    sum(late) OVER last_28 / sum(flights) OVER last_28 AS dest_late_share_28d,
    sum(delay) OVER last_1 / sum(arrived) OVER last_1 AS dest_delay_1d,
    sum(delay) OVER last_7 / sum(arrived) OVER last_7 AS dest_delay_7d,
    sum(cancelled) OVER last_1 / sum(flights) OVER last_1 AS dest_cancelled_share_1d
FROM nights
FULL JOIN mornings USING (dest, day)
WINDOW
    dest AS (PARTITION BY dest ORDER BY day),
    last_1 AS (dest RANGE BETWEEN INTERVAL 0 DAY PRECEDING AND CURRENT ROW),
    last_7 AS (dest RANGE BETWEEN INTERVAL 6 DAY PRECEDING AND CURRENT ROW),
    last_28 AS (dest RANGE BETWEEN INTERVAL 27 DAY PRECEDING AND CURRENT ROW)
QUALIFY event_timestamp IS NOT NULL
