"""A tensor-network zoo of homogeneous mixture models."""
