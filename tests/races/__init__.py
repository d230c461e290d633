"""Many processes on one store."""
