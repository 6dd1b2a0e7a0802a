"""What needs a GPU: tests, and the table of speeds."""
