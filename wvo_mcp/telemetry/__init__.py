"""What is told of the work: spans and metrics, to files and collectors. Imported only when OTEL_ENABLED=1."""
