"""Random anatomies and the images painted from them."""
