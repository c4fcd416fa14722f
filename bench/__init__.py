"""Measurements of this machine: real processes on a real Postgres, side by side in one run. See docs/performance.md."""
