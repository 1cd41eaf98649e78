"""Numbers, shapes and exceptions that break training, reported with environment and step."""
