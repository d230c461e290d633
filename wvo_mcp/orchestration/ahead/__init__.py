"""The open plan, and when it will be done."""
