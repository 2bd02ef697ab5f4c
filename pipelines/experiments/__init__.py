"""What the pipelines are made of; not part of the package that is installed."""
