"""Which worker runs what: launched, watched, held to limits, ended."""
