"""How wide the nodes of tries are."""

# A node takes the stride that separates most of its prefixes while at least this share of its
# branches is in use. Wider nodes save steps but take memory, and memory takes time: the caches
# hold less of the table.
OCCUPANCY = 0.2

# More branches than this per prefix of a node do not pay off either.
BRANCHES_PER_PREFIX = 4

# After this many nodes, strides are wide whatever it takes: only prefixes that nest on purpose
# get there. It keeps paths within STEPS4_MAX and STEPS6_MAX. The constants above allow two bits
# for two prefixes; so each of these nodes takes its path at least two bits further, by its stride
# or by bits that the next one skips, and each one after them eight. That makes 8 + 2 nodes for 32
# bits, and 8 + 14 for 128; besides, one may verify skipped bits first, and one end early where the
# second half of the address begins.
DEEP = 8
DEEP_STRIDE = 8
