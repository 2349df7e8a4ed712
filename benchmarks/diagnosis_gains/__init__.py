"""What `diagnose.py` is made of."""
