"""Checks of an installation. Each changes nothing, and explains what it found and how to fix it."""
