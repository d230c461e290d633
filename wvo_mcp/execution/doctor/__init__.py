"""Checks of an installation. Each looks, changes nothing, and explains what it found and how to mend it."""
