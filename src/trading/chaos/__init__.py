"""A thousand broken days: sessions on recorded data under kills and faults, then both books compared."""
