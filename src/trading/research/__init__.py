"""Research over recorded history, for the command line and the flows."""
