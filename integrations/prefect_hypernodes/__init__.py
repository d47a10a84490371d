"""The Prefect adapter of HyperNodes."""
