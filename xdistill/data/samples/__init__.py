"""Writers of tiny samples in the true layouts of data sets, for tests and docs."""
