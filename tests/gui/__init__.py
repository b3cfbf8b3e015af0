"""The web GUI in a real browser, against real services."""
