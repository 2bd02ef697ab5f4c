"""What a data set is, and the settings it asks for."""
