"""What everything else speaks of: grids, volumes, labels, the device."""
