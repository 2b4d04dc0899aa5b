-- How many minutes late each flight arrived; one that never did has no label.
SELECT
    carrier, flight, dest,
    as_of AS event_timestamp,
    arr_delay AS label,
    created_timestamp AS label_known_at
FROM outcomes
JOIN calendar ON calendar.day = flight_day
WHERE arr_delay IS NOT NULL
