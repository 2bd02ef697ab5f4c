"""Settings, each subject in a file."""
