-- How an airline did lately, on all its routes, as known at four in the morning:
-- sums over the last 1, 7, 28 and 91 nightly deliveries.
WITH nights AS (
    SELECT
        carrier,
        delivered_on AS day,
        count(*) AS flights,
        count(*) FILTER (late) AS late,
        count(*) FILTER (cancelled) AS cancelled,
        count(arrival_delay) AS arrived,
        sum(arrival_delay) AS delay
    FROM outcomes
    GROUP BY ALL
), mornings AS (
    SELECT DISTINCT carrier, flight_day AS day, event_timestamp FROM schedule
)
SELECT
    carrier,
    event_timestamp,
    event_timestamp AS created_timestamp,
    sum(late) OVER last_1 / sum(flights) OVER last_1 AS carrier_late_share_1d,
    sum(late) OVER last_7 / sum(flights) OVER last_7 AS carrier_late_share_7d,
    sum(late) OVER last_28 / sum(flights) OVER last_28 AS carrier_late_share_28d,
    sum(late) OVER last_91 / sum(flights) OVER last_91 AS carrier_late_share_91d,
    sum(delay) OVER last_1 / sum(arrived) OVER last_1 AS carrier_delay_1d,
    sum(cancelled) OVER last_1 / sum(flights) OVER last_1 AS carrier_cancelled_share_1d,
    sum(cancelled) OVER last_28 / sum(flights) OVER last_28 AS carrier_cancelled_share_28d
FROM nights
FULL JOIN mornings USING (carrier, day)
WINDOW
    carrier AS (PARTITION BY carrier ORDER BY day),
    last_1 AS (carrier RANGE BETWEEN INTERVAL 0 DAY PRECEDING AND CURRENT ROW),
    last_7 AS (carrier RANGE BETWEEN INTERVAL 6 DAY PRECEDING AND CURRENT ROW),
    last_28 AS (carrier RANGE BETWEEN INTERVAL 27 DAY PRECEDING AND CURRENT ROW),
    last_91 AS (carrier RANGE BETWEEN INTERVAL 90 DAY PRECEDING AND CURRENT ROW)
QUALIFY event_timestamp IS NOT NULL
