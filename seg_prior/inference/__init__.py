"""Reading one image through the prior."""
