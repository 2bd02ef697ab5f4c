"""From native space to prior space and back."""
