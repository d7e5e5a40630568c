"""What learns from features: fitting, validation, and one compiled inference."""
