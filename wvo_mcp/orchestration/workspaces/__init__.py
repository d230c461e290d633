"""What is done for workspaces while somebody works in them."""
