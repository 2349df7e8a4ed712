"""`xdistill prepare`: nights as files become one folder to train on."""
