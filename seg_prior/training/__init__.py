"""Data, augmentation and the one training loop."""
