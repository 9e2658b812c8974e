"""Code that the tests of several packages share: the running service, databases, clients and steps."""
