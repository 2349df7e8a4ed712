"""What `khn` is made of: relations, mining, and the loss over what was mined."""
