"""The `connections` command."""
