"""Which model does what: the router of claims, budgets, failures of providers, and what people see of them."""
