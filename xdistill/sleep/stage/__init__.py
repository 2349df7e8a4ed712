"""`xdistill stage`: a new night from its film alone."""
