-- What is planned for a day: one row per leg. The plan of a day is delivered at noon, New York time, the day before.
-- `calendar` holds every moment at which this table speaks: (day, as_of).
WITH planned AS (
    SELECT
        carrier, flight, origin, dest, distance,
        make_date(year, month, day) AS flight_day,
        time_hour + to_minutes(minute) AS departs_at,
        hour * 60 + minute AS minute_of_day,
        hour
    FROM raw.flights
)
SELECT
    carrier, flight, origin, dest,
    as_of AS event_timestamp,
    (flight_day - INTERVAL 12 HOUR) AT TIME ZONE 'America/New_York' AS created_timestamp,
    flight_day,
    departs_at,
    hour AS departure_hour,
    minute_of_day AS departure_minute,
    isodow(flight_day) AS weekday,
    month(flight_day) AS month,
    distance,
    count(*) OVER (PARTITION BY flight_day, origin, hour) AS origin_hour_legs,
    count(*) OVER (PARTITION BY flight_day, origin, dest) AS route_day_legs
FROM planned
JOIN calendar ON calendar.day = flight_day
