"""Training, tracking and promotion: which model trades tomorrow, and why."""
