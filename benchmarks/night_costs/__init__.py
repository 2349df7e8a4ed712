"""What `night.py` is made of."""
