-- How a leg did lately, as known at four in the morning: sums over the last 28 and 91 nightly deliveries.
-- The night of a day's own outcomes comes after its morning, so a morning never sees its own day.
WITH nights AS (
    SELECT
        carrier, flight, origin, dest,
        delivered_on AS day,
        count(*) AS flights,
        count(*) FILTER (late) AS late,
        count(*) FILTER (cancelled) AS cancelled,
        count(arrival_delay) AS arrived,
        sum(arrival_delay) AS delay,
        count(plane_seats) AS planes,
        sum(plane_seats) AS seats,
        count(plane_age) AS aged,
        sum(plane_age) AS age
    FROM outcomes
    GROUP BY ALL
), mornings AS (
    SELECT carrier, flight, origin, dest, flight_day AS day, event_timestamp FROM schedule
)
SELECT
    carrier, flight, origin, dest,
    event_timestamp,
    event_timestamp AS created_timestamp,
    coalesce(sum(flights) OVER last_91, 0)::BIGINT AS leg_flights_91d,
    sum(late) OVER last_28 / sum(flights) OVER last_28 AS leg_late_share_28d,
    sum(late) OVER last_91 / sum(flights) OVER last_91 AS leg_late_share_91d,
    sum(delay) OVER last_28 / sum(arrived) OVER last_28 AS leg_delay_28d,
    sum(cancelled) OVER last_91 / sum(flights) OVER last_91 AS leg_cancelled_share_91d,
    sum(seats) OVER last_28 / sum(planes) OVER last_28 AS leg_plane_seats_28d,
    sum(age) OVER last_28 / sum(aged) OVER last_28 AS leg_plane_age_28d
FROM nights
FULL JOIN mornings USING (carrier, flight, origin, dest, day)
WINDOW
    leg AS (PARTITION BY carrier, flight, origin, dest ORDER BY day),
    last_28 AS (leg RANGE BETWEEN INTERVAL 27 DAY PRECEDING AND CURRENT ROW),
    last_91 AS (leg RANGE BETWEEN INTERVAL 90 DAY PRECEDING AND CURRENT ROW)
QUALIFY event_timestamp IS NOT NULL
