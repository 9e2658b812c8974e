"""How many accounts there are, for operators."""

ACCOUNTS_BY_STATUS = "SELECT status AS name, count(*) AS value FROM accounts GROUP BY 1"
