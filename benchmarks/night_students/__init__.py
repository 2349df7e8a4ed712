"""What `nights.py` is made of."""
