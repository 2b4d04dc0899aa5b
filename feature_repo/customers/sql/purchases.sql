-- What a customer bought on a day. The shop's book of a day is delivered at 03:00 of the next, New York time.
SELECT
    customer_id,
    (date + INTERVAL 1 DAY) AT TIME ZONE 'America/New_York' AS event_timestamp,
    (date + INTERVAL 27 HOUR) AT TIME ZONE 'America/New_York' AS created_timestamp,
    date AS bought_on,
    date + 1 AS delivered_on,
    sum(number_of_cds)::BIGINT AS cds,
    sum(dollar_value::DECIMAL(12, 2)) AS spent
FROM raw.purchases
GROUP BY ALL
