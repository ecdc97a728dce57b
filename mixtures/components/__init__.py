"""Leaf families: the univariate densities of a mixture."""
