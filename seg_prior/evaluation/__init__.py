"""How far results agree with references."""
