"""Drives the real client programs against scripted models on loopback."""
