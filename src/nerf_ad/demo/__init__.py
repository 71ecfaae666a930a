"""The demonstration: a synthetic person becomes an avatar that speaks sentences it never heard."""
