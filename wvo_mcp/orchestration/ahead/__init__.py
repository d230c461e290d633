"""What lies ahead: the open plan and when it will be done."""
