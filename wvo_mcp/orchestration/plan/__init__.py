"""The plan as people write it: the roadmap file, imports and exports."""
