"""Which worker runs what: claimed, launched, watched, ended."""
