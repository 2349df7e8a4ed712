"""`xdistill train`: a student that stages sleep, and how good it is on sleepers held out."""
