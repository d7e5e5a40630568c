"""What may be lost, what is allowed, and which order may leave now."""
