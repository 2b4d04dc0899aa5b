-- How the hour and the leg did lately, as known at four in the morning: what was delivered until three.
WITH hours AS (
    SELECT
        plan.event_timestamp, plan.hour,
        avg((arr_delay > 15)::INTEGER) AS late_share_7d,
        avg(arr_delay) FILTER (outcomes.created_timestamp > plan.event_timestamp - INTERVAL 1 DAY) AS delay_1d
    FROM (SELECT DISTINCT event_timestamp, hour FROM plan) AS plan
    JOIN outcomes ON outcomes.hour = plan.hour
        AND outcomes.created_timestamp <= plan.event_timestamp
        AND outcomes.created_timestamp > plan.event_timestamp - INTERVAL 7 DAY
    GROUP BY ALL
), legs AS (
    SELECT plan.carrier, plan.flight, plan.dest, plan.event_timestamp, avg(arr_delay) AS leg_delay_28d
    FROM plan
    JOIN outcomes ON (outcomes.carrier, outcomes.flight, outcomes.dest) = (plan.carrier, plan.flight, plan.dest)
        AND outcomes.created_timestamp <= plan.event_timestamp
        AND outcomes.created_timestamp > plan.event_timestamp - INTERVAL 28 DAY
    GROUP BY ALL
)
SELECT
    carrier, flight, dest,
    event_timestamp,
    event_timestamp AS created_timestamp,
    late_share_7d, delay_1d, leg_delay_28d
FROM plan
LEFT JOIN hours USING (event_timestamp, hour)
LEFT JOIN legs USING (carrier, flight, dest, event_timestamp)
