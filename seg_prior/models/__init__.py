"""The generative model: networks, likelihood, objective."""
