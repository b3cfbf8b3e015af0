"""The web GUI: serving the bundle that was built from ``services/subscriber/gui``."""
