"""What several losses share: base class, sums, schedules, masks, hidden layers, memories."""
