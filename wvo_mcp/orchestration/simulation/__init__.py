"""Working through a plan on a virtual clock: the scheduler's own code, with simulated agents."""
