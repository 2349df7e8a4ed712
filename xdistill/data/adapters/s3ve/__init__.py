"""S3VE: synchronised infrared video and EEG of sleepers."""
