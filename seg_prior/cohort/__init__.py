"""The scans of a request, done here or by the workers of a cluster."""
