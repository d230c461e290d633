"""A store in memory for simulations: the same decisions as the others, at a fraction of the cost, and gone at the end."""
