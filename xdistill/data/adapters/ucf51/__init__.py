"""UCF51: video and audio of the 51 classes of UCF101 that have sound."""
