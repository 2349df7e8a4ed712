"""A staged night as pictures, statistics and one HTML page."""
