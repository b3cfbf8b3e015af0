"""The demo, and the scripts that make its data."""
