"""The contract, seen from outside: through stdio, the command line and the sqlite3 program."""
