"""SQL for the metric that counts accounts by status."""

ACCOUNTS_BY_STATUS = "SELECT status AS name, count(*) AS value FROM accounts GROUP BY 1"
