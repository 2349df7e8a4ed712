"""UTD-MHAD: depth video, inertial data and skeletons of actions."""
