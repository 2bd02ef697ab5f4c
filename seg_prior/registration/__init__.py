"""From a scan's own space to prior space."""
