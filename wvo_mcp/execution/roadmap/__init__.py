"""`state/roadmap.yaml` on disk, and its history."""
