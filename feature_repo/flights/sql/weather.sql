-- The weather at an airport during the 24 hours before four in the morning. An hour's observation is known when it is over,
-- so the one of 03:00 belongs to the next day. Averages are taken in order of time: the same bits from any number of threads.
-- No wind blows at 250 mph; the one hour that says so is passed over.
WITH observed AS (
    SELECT *, ((time_hour + INTERVAL 1 HOUR) AT TIME ZONE 'America/New_York' - INTERVAL 4 HOUR)::DATE + 1 AS morning
    FROM raw.weather
)
SELECT
    origin,
    as_of AS event_timestamp,
    as_of AS created_timestamp,
    avg(temp ORDER BY time_hour) AS temperature_24h,
    avg(humid ORDER BY time_hour) AS humidity_24h,
    sum(precip ORDER BY time_hour) AS rain_24h,
    max(wind_speed) FILTER (wind_speed < 250) AS wind_24h,
    min(visib) AS visibility_24h,
    arg_max(visib, time_hour) AS visibility_last,
    arg_max(pressure, time_hour) - arg_min(pressure, time_hour) AS pressure_change_24h
FROM observed
JOIN calendar ON calendar.day = morning
GROUP BY ALL
