"""What a camera tells about a sleeper's body: movement and breathing."""
