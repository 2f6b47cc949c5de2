"""The entry of the units of one socket: registers it, and lets its rules enter and leave force."""
