"""How schemathesis is run against the service."""
