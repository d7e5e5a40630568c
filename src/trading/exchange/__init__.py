"""The local exchange: the KIS protocol served over loopback, replaying recorded history."""
