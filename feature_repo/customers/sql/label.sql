-- Who bought again in the ninety days from a Monday on, asked once those days are over.
-- One customer and week in eight is enough to learn from and is drawn by a hash: the same ones every time, everywhere.
WITH asked AS (
    SELECT customer_id, event_timestamp, (event_timestamp AT TIME ZONE 'America/New_York')::DATE AS monday
    FROM activity
    WHERE md5_number_lower(concat_ws('/', customer_id, monday)) % 8 = 0
      AND monday + 89 <= (SELECT max(bought_on) FROM purchases)
)
SELECT
    asked.customer_id,
    asked.event_timestamp,
    (count(purchases.bought_on) > 0)::INTEGER AS label,
    (monday + INTERVAL '90 days 3 hours') AT TIME ZONE 'America/New_York' AS label_known_at
FROM asked
LEFT JOIN purchases
    ON purchases.customer_id = asked.customer_id AND purchases.bought_on BETWEEN monday AND monday + 89
GROUP BY ALL
