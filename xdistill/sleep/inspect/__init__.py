"""`xdistill inspect`: what a run holds."""
