"""Callbacks that ship with the library: to see what runs while it does, and afterwards."""
