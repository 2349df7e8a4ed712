"""What several losses share: the base class, masks, rows of length one, hidden layers, memories."""
