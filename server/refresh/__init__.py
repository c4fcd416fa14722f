"""Keeping credentials alive: when, who, exactly once, what if it fails."""
