"""One function per command: files in, files out."""
