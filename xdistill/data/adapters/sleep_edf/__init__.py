"""Sleep-EDF as PhysioNet ships it."""
