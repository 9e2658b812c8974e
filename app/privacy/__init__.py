"""Privacy: ends everything a member has in a community they leave, across packages, and audits it."""
