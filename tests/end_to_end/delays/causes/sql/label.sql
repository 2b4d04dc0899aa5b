-- What kind of day each flight had.
SELECT
    carrier, flight, dest,
    as_of AS event_timestamp,
    CASE
        WHEN arr_delay IS NULL THEN 'cancelled/diverted'
        WHEN arr_delay <= 15 THEN 'on time'
        WHEN dep_delay > 15 THEN 'late departure'
        ELSE 'late in the air'
    END AS label,
    created_timestamp AS label_known_at
FROM outcomes
JOIN calendar ON calendar.day = flight_day
