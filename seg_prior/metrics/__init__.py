"""How far a label map is from its reference."""
