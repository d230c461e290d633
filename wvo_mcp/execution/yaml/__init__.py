"""YAML that knows its lines, and edits that touch only what changes."""
