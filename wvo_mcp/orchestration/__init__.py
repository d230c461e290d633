"""What is decided: pure over the ports, inside one transaction."""
