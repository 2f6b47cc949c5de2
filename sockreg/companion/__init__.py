"""The entry of the units of one socket: registers it, and adds or removes its rules."""
