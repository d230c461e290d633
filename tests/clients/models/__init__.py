"""Scripted models: one base, one file per provider's wire format."""
