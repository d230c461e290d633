"""Wiring this program into a project and its clients: plan every change first, show it, then write all or nothing."""
