"""From wished weights to orders that may legally be sent."""
