"""Spans and metrics of the work, to files and collectors. Imported only when OTEL_ENABLED=1."""
