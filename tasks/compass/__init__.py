"""Compass: is training justified, what does it take, and can it be afforded."""
