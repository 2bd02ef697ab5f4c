"""Pictures a person can judge."""
