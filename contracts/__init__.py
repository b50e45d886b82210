"""The lowest room: the error base and the frozen, strict config base. Every floor may import it; it imports nothing of ours."""
