"""A model in one file, and what it says of itself."""
