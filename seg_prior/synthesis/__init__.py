"""Random anatomies, and synthetic scans of them."""
