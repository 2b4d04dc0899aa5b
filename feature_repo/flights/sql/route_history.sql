-- How a route did lately, all carriers together, as known at four in the morning:
-- sums over the last 7 and 28 nightly deliveries.
WITH nights AS (
    SELECT
        origin, dest,
        delivered_on AS day,
        count(*) AS flights,
        count(*) FILTER (late) AS late,
        count(*) FILTER (cancelled) AS cancelled,
        count(arrival_delay) AS arrived,
        sum(arrival_delay) AS delay
    FROM outcomes
    GROUP BY ALL
), mornings AS (
    SELECT DISTINCT origin, dest, flight_day AS day, event_timestamp FROM schedule
)
SELECT
    origin, dest,
    event_timestamp,
    event_timestamp AS created_timestamp,
    coalesce(sum(flights) OVER last_28, 0)::BIGINT AS route_flights_28d,
    sum(late) OVER last_7 / sum(flights) OVER last_7 AS route_late_share_7d,
    sum(late) OVER last_28 / sum(flights) OVER last_28 AS route_late_share_28d,
    sum(delay) OVER last_28 / sum(arrived) OVER last_28 AS route_delay_28d,
    sum(cancelled) OVER last_28 / sum(flights) OVER last_28 AS route_cancelled_share_28d
FROM nights
FULL JOIN mornings USING (origin, dest, day)
WINDOW
    route AS (PARTITION BY origin, dest ORDER BY day),
    last_7 AS (route RANGE BETWEEN INTERVAL 6 DAY PRECEDING AND CURRENT ROW),
    last_28 AS (route RANGE BETWEEN INTERVAL 27 DAY PRECEDING AND CURRENT ROW)
QUALIFY event_timestamp IS NOT NULL
