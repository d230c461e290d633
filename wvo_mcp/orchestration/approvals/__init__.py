"""What agents may do only once a person has said yes."""
