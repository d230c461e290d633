"""Figures of the product, each beside its floor in the same run; `scripts/bench` is the entry."""
