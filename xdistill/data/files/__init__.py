"""Reading one file of a kind: clips, arrays, sound, EDF, HDF5, lists of rows."""
